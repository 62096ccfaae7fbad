// Drives the serial receiver with bits whose edges lie at exact times, and counts what does not come out right.
//
// usage: harness CYCLES_PER_BIT RATE_ERROR BYTES GLITCH SEED
//
// RATE_ERROR: fraction by which the sender is fast. GLITCH: length in bits of pulses of the wrong level, one byte or more
// apart, at random places; 0 for none. Prints `sent`, `wrong` (bytes that are missing, superfluous
// or different) and `glitches`. Verilator writes the second underscore of a port as _05F.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr double BITS = 10;  // of a byte

struct Bench {
    VerilatedContext context;
    Vtop top{&context};
    std::mt19937_64 random;
    double cycles_per_bit, glitch;
    double now = 0, edge = 0;  // in clock cycles: of the simulation, of the line
    double pulse = 0;          // begin of the next glitch
    long sent = 0, wrong = 0, glitches = 0;
    std::deque<int> expected;

    Bench(double cycles_per_bit, double glitch, uint64_t seed)
        : random(seed), cycles_per_bit(cycles_per_bit), glitch(glitch) {}

    double uniform() { return std::uniform_real_distribution<double>(0, 1)(random); }

    void cycle(bool level) {
        top.rx = level;
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        now += 1;
        if (!top.o___05Fvalid) return;
        if (expected.empty() || expected.front() != int(top.o___05Fpayload)) ++wrong;
        if (!expected.empty()) expected.pop_front();
    }

    // The level at every clock edge from `edge` until `bits` bits later.
    void hold(bool level, double bits) {
        for (edge += bits * cycles_per_bit; now < edge;) {
            const double since = now - pulse;
            cycle(glitch > 0 && since >= 0 && since < glitch * cycles_per_bit ? !level : level);
            if (glitch > 0 && since > cycles_per_bit) {
                pulse += (BITS * (1 + uniform()) + 1) * cycles_per_bit;
                ++glitches;
            }
        }
    }

    void send(int byte) {
        expected.push_back(byte);
        hold(false, 1);
        for (int i = 0; i < 8; ++i) hold(byte >> i & 1, 1);
        hold(true, 1);
        ++sent;
    }

    void finish() {
        for (int i = 0; i < 3; ++i) hold(true, 1);
        wrong += long(expected.size());
        expected.clear();
    }
};

}  // namespace

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    const double cycles_per_bit = std::atof(argv[1]) / (1 + std::atof(argv[2])), glitch = std::atof(argv[4]);
    const long count = std::atol(argv[3]);
    Bench bench(cycles_per_bit, glitch, std::strtoull(argv[5], nullptr, 10));
    bench.top.rst = 0;
    bench.hold(true, 2);
    for (long i = 0; i < count; ++i) {
        // Mostly back to back, sometimes after a pause of any length.
        if (bench.random() % 16 == 0) bench.hold(true, 3 * bench.uniform() + glitch);
        bench.send(int(bench.random() & 255));
    }
    bench.finish();
    std::printf("sent %ld\nwrong %ld\nglitches %ld\n", bench.sent, bench.wrong, bench.glitches);
    return 0;
}
