// Feeds damaged frames to the deframer, a byte per clock, and counts frames that come out as anything but what was sent.
//
// usage: harness flips | harness random COUNT SEED
//
// `flips`: every frame of a list of shapes, with every one and every two bits flipped between its delimiters. `random`:
// COUNT random corruptions of random frames. Between them whole frames must come out unharmed. Prints `tried`,
// `accepted` (wrong output), `probes` and `lost` (whole frames that did not come out, or not as they were sent).
// Verilator writes the second underscore of a port as _05F.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

using Bytes = std::vector<uint8_t>;
constexpr int SETTLE = 12;  // cycles after which the last byte of a frame has come out
constexpr int PROBE = 64;   // damaged frames between two whole ones

uint32_t crc32(const Bytes &data) {
    uint32_t crc = ~0u;
    for (uint8_t byte : data) {
        crc ^= byte;
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

struct Frame {
    Bytes plain, line;  // header and payload; stuffed, between delimiters

    Frame(const Bytes &payload, int type, int sequence, int session) {
        const size_t size = payload.size();
        plain = {uint8_t(0x10 | type), uint8_t(sequence), uint8_t(session), uint8_t(session >> 8), uint8_t(size),
                 uint8_t(size >> 8)};
        plain.insert(plain.end(), payload.begin(), payload.end());
        Bytes data = plain;
        const uint32_t crc = crc32(plain);
        for (int shift = 0; shift < 32; shift += 8) data.push_back(uint8_t(crc >> shift));
        line = {0, 1};
        size_t code = 1;
        for (uint8_t byte : data) {
            if (line[code] == 255) code = line.size(), line.push_back(1);
            if (byte) line.push_back(byte), ++line[code];
            else code = line.size(), line.push_back(1);
        }
        line.push_back(0);
    }
};

struct Bench {
    VerilatedContext context;
    Vtop top{&context};
    std::mt19937_64 random;
    Bytes out;
    long tried = 0, accepted = 0, probes = 0, lost = 0;
    const Frame probe{{'p', 0, 'r', 0xFF}, 7, 3, 0xBEEF};

    void cycle(bool valid, uint8_t byte) {
        top.i___05Fvalid = valid;
        top.i___05Fpayload = byte;
        top.o___05Fready = 1;
        top.clk = 0;
        top.eval();
        if (top.o___05Fvalid) out.push_back(top.o___05Fpayload);
        top.clk = 1;
        top.eval();
    }

    // What comes out for `line` and a delimiter.
    const Bytes &feed(const Bytes &line, size_t whole) {
        out.clear();
        for (uint8_t byte : line) cycle(true, byte);
        cycle(true, 0);
        for (size_t i = 0; i < SETTLE || (!out.empty() && i < whole + SETTLE); ++i) cycle(false, 0);
        return out;
    }

    void check() {
        ++probes;
        lost += feed(probe.line, probe.plain.size()) != probe.plain;
    }

    void attempt(const Frame &frame, const Bytes &damaged) {
        const Bytes &got = feed(damaged, frame.plain.size());
        accepted += !got.empty() && got != frame.plain;
        if (++tried % PROBE == 0) check();
    }

    void flips(const Frame &frame) {
        Bytes damaged = frame.line;
        const size_t end = 8 * (damaged.size() - 1);
        for (size_t a = 8; a < end; ++a) {
            damaged[a / 8] ^= 1 << a % 8;
            attempt(frame, damaged);
            for (size_t b = a + 1; b < end; ++b) {
                damaged[b / 8] ^= 1 << b % 8;
                attempt(frame, damaged);
                damaged[b / 8] ^= 1 << b % 8;
            }
            damaged[a / 8] ^= 1 << a % 8;
        }
    }

    size_t below(size_t limit) { return random() % limit; }

    void change(Bytes &data) {
        const size_t at = below(data.size()), other = below(data.size());
        switch (below(9)) {
            case 0: case 1: data[at] ^= 1 << below(8); break;
            case 2: data[at] = uint8_t(random()); break;
            case 3: if (data.size() > 1) data.erase(data.begin() + long(at)); break;
            case 4: data.insert(data.begin() + long(at), uint8_t(random())); break;
            case 5: data.insert(data.begin() + long(at), data[at]); break;
            case 6: std::swap(data[at], data[other]); break;
            case 7: for (size_t i = at; i < std::min(data.size(), at + 20); ++i) data[i] = uint8_t(random()); break;
            case 8: data.resize(at + 1); break;
        }
    }

    void corrupt(long count) {
        constexpr size_t SIZES[] = {0, 1, 2, 8, 20, 40};
        while (count > 0) {
            Bytes payload(SIZES[below(6)]);
            if (below(5)) for (uint8_t &byte : payload) byte = below(3) ? uint8_t(random()) : 0;
            const Frame frame(payload, int(below(16)), int(below(256)), int(below(65536)));
            for (int i = 0; i < 64 && count > 0; ++i, --count) {
                Bytes damaged = frame.line;
                while (damaged == frame.line)
                    for (size_t n = below(3) + 1; n > 0; --n) change(damaged);
                attempt(frame, damaged);
            }
        }
    }
};

std::vector<Frame> shapes() {
    Bytes counting(48);
    for (size_t i = 0; i < counting.size(); ++i) counting[i] = uint8_t(i);
    const Bytes payloads[] = {{}, {0}, Bytes(40, 0), Bytes(40, 0xFF), counting, {'a', 'b', 'c', 0, 'd', 0}};
    std::vector<Frame> result;
    for (const Bytes &payload : payloads) result.emplace_back(payload, 2, 7, 0xBEEF);
    return result;
}

}  // namespace

int main(int argc, char **argv) {
    Bench bench;
    bench.top.rst = 0;
    bench.check();
    long count = 0;
    if (argc == 2 && !std::strcmp(argv[1], "flips")) {
        for (const Frame &frame : shapes()) bench.flips(frame), ++count;
    } else if (argc == 4 && !std::strcmp(argv[1], "random")) {
        bench.random.seed(std::strtoull(argv[3], nullptr, 10));
        bench.corrupt(std::atol(argv[2]));
    } else {
        return 2;
    }
    bench.check();
    std::printf("tried %ld\naccepted %ld\nprobes %ld\nlost %ld\nshapes %ld\n", bench.tried, bench.accepted,
                bench.probes, bench.lost, count);
    return 0;
}
