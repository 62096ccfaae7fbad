// Runs mutated programs on a core and watches what it does.
//
// usage: harness CORPUS COUNT SEED
//
// CORPUS is written by sim/torture/programs.py. Every PROBE programs a good one is loaded and must give its results.
// Prints what became of the programs (`finished`, `illegal`, `overrun`, `address`, `long`: reset after LONGEST cycles),
// `outside` (programs with an access outside a memory), `stuck` (nothing went on for STALL cycles), `contradicting`
// (stopped where, or with a fault, that the words do not allow), `tried`, `probes` and `wrong` results.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr int LONGEST = 1200;  // cycles of a program; the good ones take fewer
constexpr int STALL = 1000;    // cycles
constexpr int FLUSH = 4;       // cycles after which a reset core is idle
constexpr int PROBE = 100;

using Word = std::array<uint32_t, 4>;

struct Field { int offset, width; uint64_t low, high; };
struct Opcode { int bits = 0; bool runs = false, ends = false; std::vector<Field> fields; };
struct Stored { int space, bank, address; Word word; };
struct Program { std::vector<Stored> words; std::vector<uint8_t> image; std::vector<uint32_t> results; };

uint64_t bits(const Word &word, int offset, int width) {
    uint64_t value = 0;
    for (int i = 0; i < width; ++i) value |= uint64_t(word[(offset + i) / 32] >> (offset + i) % 32 & 1) << i;
    return value;
}

void set(Word &word, int offset, int width, uint64_t value) {
    for (int i = 0; i < width; ++i) {
        uint32_t &part = word[size_t(offset + i) / 32];
        const uint32_t mask = 1u << (offset + i) % 32;
        part = value >> i & 1 ? part | mask : part & ~mask;
    }
}

struct Corpus {
    int program_depth = 0, tap_depth = 0, program_space = 0, tap_space = 0, illegal = 0, overrun = 0, address = 0;
    std::map<int, Opcode> opcodes;
    std::vector<Program> programs;

    explicit Corpus(const char *path) {
        std::ifstream file(path);
        for (std::string line; std::getline(file, line);) {
            std::istringstream in(line);
            std::string kind, hex;
            int code, value;
            in >> kind;
            if (kind == "depths") in >> program_depth >> tap_depth >> program_space >> tap_space;
            else if (kind == "faults") in >> illegal >> overrun >> address;
            else if (kind == "opcode") { in >> code; Opcode &o = opcodes[code]; in >> o.bits >> o.runs >> o.ends; }
            else if (kind == "field") {
                Field f; in >> code >> f.offset >> f.width >> f.low >> f.high; opcodes[code].fields.push_back(f);
            } else if (kind == "program") programs.emplace_back();
            else if (kind == "word") {
                Stored s{}; in >> s.space >> s.bank >> s.address >> hex;
                hex.insert(0, 32 - hex.size(), '0');
                for (int i = 0; i < 4; ++i) s.word[i] = uint32_t(std::stoul(hex.substr(24 - 8 * i, 8), nullptr, 16));
                programs.back().words.push_back(s);
            } else if (kind == "byte") { in >> value; programs.back().image.push_back(uint8_t(value)); }
            else if (kind == "result") { int64_t r; in >> r; programs.back().results.push_back(uint32_t(r)); }
        }
    }

    bool legal(const Word &word) const {
        const auto found = opcodes.find(int(word[0] & 15));
        if (found == opcodes.end()) return false;
        for (const Field &f : found->second.fields) {
            const uint64_t value = bits(word, f.offset, f.width);
            if (value < f.low || value > f.high) return false;
        }
        for (int i = found->second.bits; i < 128; ++i) if (bits(word, i, 1)) return false;
        return true;
    }
};

struct Bench {
    const Corpus corpus;
    VerilatedContext context;
    Vtop top{&context};
    std::mt19937_64 random;
    std::map<std::string, long> count;
    std::vector<Word> program, taps;
    const std::vector<uint8_t> *image = nullptr;
    size_t sent = 0;

    Bench(const char *path, uint64_t seed) : corpus(path), random(seed) {
        for (const char *name : {"tried", "finished", "illegal", "overrun", "address", "long", "outside", "stuck",
                                 "contradicting", "probes", "wrong"}) count[name] = 0;
    }

    uint64_t below(uint64_t limit) { return random() % limit; }

    void cycle() {
        top.image_valid = image != nullptr;
        if (image) top.image = (*image)[sent % image->size()];
        top.clk = 0;
        top.eval();
        sent += top.image_taken;
        top.clk = 1;
        top.eval();
    }

    void write(int space, int bank, int address, const Word &word) {
        top.write = 1, top.space = uint8_t(space), top.bank = uint8_t(bank), top.address = uint16_t(address);
        for (int i = 0; i < 4; ++i) top.data[i] = word[i];
        cycle();
        top.write = 0;
    }

    void reset() {
        top.reset = 1;
        cycle();
        top.reset = 0;
        for (int i = 0; i < FLUSH; ++i) cycle();
    }

    // Runs what is in the memories; why it ended: "" when it stopped by itself.
    std::string run(const std::vector<uint8_t> &bytes, bool &outside) {
        image = &bytes, sent = 0;
        top.start = 1;
        cycle();
        top.start = 0;
        cycle();  // busy from here on
        std::string why;
        for (int n = 0, quiet = 0; top.busy && why.empty(); ++n) {
            cycle();
            outside |= top.outside;
            quiet = top.alive ? 0 : quiet + 1;
            if (quiet == STALL) why = "stuck";
            else if (n >= LONGEST && quiet == 0) why = "long";
        }
        image = nullptr;
        if (!why.empty()) reset();
        if (top.busy) why = "stuck";
        return why;
    }

    void load(const Program &good) {
        reset();  // the last program may have left the intake at work
        for (const Stored &s : good.words) write(s.space, s.bank, s.address, s.word);
    }

    void probe(const Program &good) {
        ++count["probes"];
        load(good);
        bool outside = false, right = run(good.image, outside).empty() && top.fault == 0 && !outside;
        for (size_t n = 0; right && n < good.results.size(); ++n) {
            top.read = 1, top.address = uint16_t(n);
            cycle();
            top.read = 0;
            int wait = 0;
            while (!top.result_valid && wait++ < 20) cycle();
            right = top.result_valid && top.result[0] == good.results[n];
            cycle();
        }
        count["wrong"] += !right;
    }

    uint64_t value(const Field &f) {
        const uint64_t most = (uint64_t(1) << (f.width - 1) << 1) - 1;
        switch (below(6)) {
            case 0: return f.low + below(4);
            case 1: return f.high - below(2);
            case 2: return f.high + 1;
            case 3: return f.low - 1;
            case 4: return below(40);
            default: return random() & most;
        }
    }

    void mutate() {
        const size_t at = below(program.size()), other = below(program.size());
        Word &word = program[at];
        switch (below(12)) {
            case 0: word[below(4)] ^= 1u << below(32); break;
            case 1: std::swap(word, program[other]); break;
            case 2: word = program[other]; break;
            case 3: program.erase(program.begin() + long(at)); program.push_back(Word{}); break;
            case 4: {
                auto chosen = corpus.opcodes.begin();
                std::advance(chosen, below(corpus.opcodes.size()));
                word = {uint32_t(chosen->first), 0, 0, 0};
                for (const Field &f : chosen->second.fields)
                    set(word, f.offset, f.width, f.low + below(1 + std::min<uint64_t>(f.high - f.low, 8)));
                break;
            }
            case 5: taps[below(taps.size())] = {uint32_t(random()), uint32_t(random() & 15), 0, 0}; break;
            case 6: {  // over and over, to the end of the memory
                const Word again = program[other];
                std::fill(program.begin() + long(at), program.end(), again);
                break;
            }
            default:
                const auto found = corpus.opcodes.find(int(word[0] & 15));
                if (found == corpus.opcodes.end() || found->second.fields.empty()) break;
                const Field &f = found->second.fields[below(found->second.fields.size())];
                set(word, f.offset, f.width, value(f));
        }
    }

    // Whether the words allow what status says.
    bool consistent(bool finished) const {
        size_t decodes = 0, end = program.size();
        while (decodes < program.size() && corpus.legal(program[decodes])) {
            if (corpus.opcodes.at(int(program[decodes][0] & 15)).ends) { end = decodes; break; }
            ++decodes;
        }
        const size_t place = top.fault_address;
        if (finished) return end < program.size();
        if (top.fault == corpus.overrun) return decodes == program.size() && place == decodes;
        if (place > decodes || place >= program.size() || place == end) return false;
        const bool runs = place < decodes && corpus.opcodes.at(int(program[place][0] & 15)).runs;
        return top.fault == corpus.illegal ? place == decodes || runs : top.fault == corpus.address && runs;
    }

    void attempt() {
        const Program &good = corpus.programs[below(corpus.programs.size())];
        if (count["tried"] % PROBE == 0) probe(good);
        program.assign(size_t(corpus.program_depth), Word{});
        taps.assign(size_t(corpus.tap_depth), Word{});
        for (const Stored &s : good.words) {
            if (s.space == corpus.program_space) program[size_t(s.address)] = s.word;
            if (s.space == corpus.tap_space) taps[size_t(s.address)] = s.word;
        }
        for (uint64_t n = 1 + below(4); n; --n) mutate();
        reset();
        for (size_t n = 0; n < program.size(); ++n) write(corpus.program_space, 0, int(n), program[n]);
        for (size_t n = 0; n < taps.size(); ++n) write(corpus.tap_space, 0, int(n), taps[n]);
        bool outside = false;
        const std::string why = run(good.image, outside);
        ++count["tried"], count["outside"] += outside;
        if (!why.empty()) { ++count[why]; return; }
        const int fault = top.fault;
        ++count[fault == 0 ? "finished" : fault == corpus.illegal ? "illegal" : fault == corpus.overrun ? "overrun"
                                                                                                        : "address"];
        count["contradicting"] += !consistent(fault == 0);
    }
};

}  // namespace

int main(int argc, char **argv) {
    if (argc != 4) return std::fprintf(stderr, "usage: harness CORPUS COUNT SEED\n"), 1;
    Bench bench(argv[1], std::strtoull(argv[3], nullptr, 10));
    if (bench.corpus.programs.empty()) return std::fprintf(stderr, "no programs in %s\n", argv[1]), 1;
    bench.reset();
    for (long n = std::atol(argv[2]); n; --n) bench.attempt();
    for (const auto &[name, value] : bench.count) std::printf("%s %ld\n", name.c_str(), value);
    return 0;
}
