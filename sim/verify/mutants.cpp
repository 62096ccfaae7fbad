// Plays vectors on every mutant of a design: design.cc has all of them, chosen by the input `mutant`; 0 is the original.
//
// usage: harness VECTORS COUNT
//
// VECTORS: a line of input names, a line of output names, then a line per cycle with every input, and every output with
// its mask, in hexadecimal. Prints the mutants, of COUNT, that show what the original shows.

#include "design.cc"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Design = cxxrtl_design::p_top;
using Number = std::vector<uint32_t>;

// A hexadecimal number as `chunks` words, least significant first.
Number number(const std::string &text, size_t chunks) {
    Number result(chunks, 0);
    for (size_t n = 0; n < text.size(); ++n) {
        const uint32_t digit = uint32_t(std::stoul(text.substr(text.size() - 1 - n, 1), nullptr, 16));
        if (n / 8 < chunks) result[n / 8] |= digit << n % 8 * 4;
    }
    return result;
}

std::vector<std::string> words(std::istream &stream) {
    std::string line;
    std::getline(stream, line);
    std::istringstream split(line);
    return {std::istream_iterator<std::string>(split), {}};
}

struct Cycle { std::vector<Number> inputs, outputs, masks; };

struct Port {
    uint32_t *data;
    size_t chunks;

    Port(cxxrtl::debug_items &items, const std::string &name)
        : data(items.at(name).at(0).curr), chunks((items.at(name).at(0).width + 31) / 32) {}
};

struct Bench {
    std::vector<std::string> inputs, outputs;
    std::vector<Cycle> cycles;

    explicit Bench(const char *path) {
        std::ifstream file(path);
        inputs = words(file), outputs = words(file);
        Design design;
        cxxrtl::debug_items items;
        design.debug_info(&items, nullptr, "");
        for (auto line = words(file); !line.empty(); line = words(file)) {
            Cycle cycle;
            size_t at = 0;
            for (const auto &name : inputs) cycle.inputs.push_back(number(line.at(at++), Port(items, name).chunks));
            for (const auto &name : outputs) {
                cycle.outputs.push_back(number(line.at(at++), Port(items, name).chunks));
                cycle.masks.push_back(number(line.at(at++), Port(items, name).chunks));
            }
            cycles.push_back(cycle);
        }
    }

    // Whether a mutant shows what it must in every cycle.
    bool passes(uint32_t mutant) const {
        Design design;
        cxxrtl::debug_items items;
        design.debug_info(&items, nullptr, "");
        std::vector<Port> in, out;
        for (const auto &name : inputs) in.emplace_back(items, name);
        for (const auto &name : outputs) out.emplace_back(items, name);
        *Port(items, "mutant").data = mutant;
        uint32_t *clock = Port(items, "clk").data;
        design.step();
        for (const auto &cycle : cycles) {
            for (size_t n = 0; n < in.size(); ++n)
                for (size_t chunk = 0; chunk < in[n].chunks; ++chunk) in[n].data[chunk] = cycle.inputs[n][chunk];
            for (uint32_t level : {0, 1}) {
                *clock = level;
                design.step();
            }
            for (size_t n = 0; n < out.size(); ++n)
                for (size_t chunk = 0; chunk < out[n].chunks; ++chunk)
                    if ((out[n].data[chunk] ^ cycle.outputs[n][chunk]) & cycle.masks[n][chunk]) return false;
        }
        return true;
    }
};

}  // namespace

int main(int, char **arguments) {
    const Bench bench(arguments[1]);
    for (uint32_t mutant = 0; mutant <= uint32_t(std::atoi(arguments[2])); ++mutant)
        if (bench.passes(mutant)) std::printf("%u\n", mutant);
}
