// Runs the verilated top with its serial line behind a pseudo-terminal, whose path it prints.
//
// usage: board CYCLES_PER_BIT COMMANDS [SYMLINK]
//
// With COMMANDS = 1 it takes commands from standard input, one per line, answers each with a line that begins with the
// command, and ends with the input; see `sim.board`. SYMLINK always leads to the present terminal.
//
// Simulated time stands still while the device is idle and nothing arrives; otherwise it runs as fast as it can.
// Bytes for a terminal that nobody has open are lost, as on a real line. SIGINT and SIGTERM end it with status 0.

#include <chrono>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <random>
#include <string>
#include <termios.h>
#include <unistd.h>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr int CHUNK = 512;              // cycles between looks at the file descriptor
constexpr long SETTLED = 20'000;        // quiet cycles after which nothing more can come from an idle device
constexpr long STARVED = 2'000'000;     // quiet cycles after which a busy device is taken to wait for the host
constexpr size_t QUEUED = 4096;         // bytes to the device held here; the rest waits in the terminal
constexpr long START = 1 << 15;         // most cycles from power-up to the first byte: each start has its own epoch

volatile std::sig_atomic_t stopped = 0;
void stop(int) { stopped = 1; }

// Host to device: one level per cycle.
struct Sender {
    double cycles_per_bit, left = 0;
    unsigned shift = 1, bits = 0;
    std::deque<unsigned char> queue;
    long sent = 0;

    bool idle() const { return bits == 0 && queue.empty(); }
    bool step() {
        if (bits == 0) {
            if (queue.empty()) return true;
            shift = queue.front() << 1 | 0x200;
            queue.pop_front();
            bits = 10;
            ++sent;
            left += cycles_per_bit;
        }
        const bool level = shift & 1;
        if ((left -= 1) <= 0) {
            shift >>= 1;
            if (--bits) left += cycles_per_bit;
        }
        return level;
    }
};

// Device to host: samples the middle of each bit.
struct Receiver {
    double cycles_per_bit, left = 0;
    unsigned shift = 0, bits = 0;
    std::string received;
    long taken = 0;

    // True when a byte is complete.
    bool step(bool level) {
        if (bits == 0) {
            if (level) return false;
            bits = 10;
            shift = 0;
            left = cycles_per_bit / 2;
        }
        if ((left -= 1) > 0) return false;
        left += cycles_per_bit;
        shift |= unsigned(level) << (10 - bits);
        if (--bits || !level) return false;
        received.push_back(char(shift >> 1));
        ++taken;
        return true;
    }
};

struct Board {
    const double cycles_per_bit;
    const char *const symlink;
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
    Sender sender;
    Receiver receiver;
    int fd = -1;       // of the terminal; -1 while unplugged
    bool open = true;  // somebody has the terminal open
    long quiet = 0, cycles = 0, first = 0, last = 0;
    std::string input;  // commands
    std::random_device random;

    Board(double cycles_per_bit, const char *symlink) : cycles_per_bit(cycles_per_bit), symlink(symlink) {}

    void cycle() {
        top->rx = sender.step();
        top->clk = 0;
        top->eval();
        top->clk = 1;
        top->eval();
        ++cycles;
        if (receiver.step(top->tx)) last = cycles;
    }

    void reset() {
        top->rst = 1;
        for (int i = 0; i < 4; ++i) cycle();
        top->rst = 0;
    }

    // Configuration again: memories empty, nothing on the line.
    void power() {
        top = std::make_unique<Vtop>(&context);
        sender = Sender{cycles_per_bit};
        receiver = Receiver{cycles_per_bit};
        reset();
        for (long i = random() % START; i > 0; --i) cycle();
        quiet = 0;
    }

    // A new terminal, and a device that just got its power from it.
    bool plug() {
        fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || grantpt(fd) || unlockpt(fd)) return false;
        const std::string path = ptsname(fd);
        const int terminal = ::open(path.c_str(), O_RDWR | O_NOCTTY);
        termios settings;
        if (terminal < 0 || tcgetattr(terminal, &settings)) return false;
        cfmakeraw(&settings);
        tcsetattr(terminal, TCSANOW, &settings);
        ::close(terminal);
        if (symlink && !link_to(path)) return false;
        power();
        open = true;
        std::printf("board: %s\n", symlink ? symlink : path.c_str());
        return true;
    }

    bool link_to(const std::string &path) {
        const std::string fresh = std::string(symlink) + ".new";
        ::unlink(fresh.c_str());
        return !::symlink(path.c_str(), fresh.c_str()) && !std::rename(fresh.c_str(), symlink);
    }

    void unplug() {
        if (fd < 0) return;
        if (symlink) ::unlink(symlink);
        ::close(fd);
        fd = -1;
    }

    // Cycles between the first bit to the device and the last from it, and bytes both ways, since the last question.
    void report() {
        std::printf("line: cycles=%ld sent=%ld received=%ld per_bit=%g\n", first ? last - first : 0, sender.sent,
                    receiver.taken, cycles_per_bit);
        first = sender.sent = receiver.taken = 0;
    }

    void obey(const std::string &command) {
        if (command == "unplug") unplug(), std::puts("unplug");
        else if (command == "line") report();
        else if (command == "replug" || command == "plug") {
            if (fd >= 0) std::puts("replug: the board is not unplugged");
            else if (!plug()) std::puts("replug: no pseudo-terminal"), stopped = 1;
        } else if (command == "reset" && fd >= 0) reset(), quiet = 0, std::puts("reset");
        else if (command == "power" && fd >= 0) power(), std::puts("power");
        else std::printf("error: command must be reset, power, unplug, replug or line, the first two while plugged, "
                         "not '%s'\n", command.c_str());
        std::fflush(stdout);
    }

    // False when standard input ended.
    bool commands() {
        char bytes[256];
        const ssize_t count = ::read(0, bytes, sizeof bytes);
        if (count <= 0) return count < 0 && errno == EINTR;
        input.append(bytes, size_t(count));
        for (size_t end; (end = input.find('\n')) != std::string::npos; input.erase(0, end + 1))
            obey(input.substr(0, end));
        return true;
    }

    void run() {
        for (int i = 0; i < CHUNK; ++i) {
            cycle();
            quiet = sender.idle() && receiver.bits == 0 ? quiet + 1 : 0;
        }
    }

    bool asleep() const {
        return fd < 0 || (quiet > (top->busy ? STARVED : SETTLED) && receiver.received.empty());
    }

    void write_out() {
        std::string &bytes = receiver.received;
        if (bytes.empty()) return;
        const ssize_t count = open ? ::write(fd, bytes.data(), bytes.size()) : ssize_t(bytes.size());
        if (count > 0) bytes.erase(0, size_t(count));
        else if (errno == EIO) bytes.clear();
    }

    void read_in() {
        unsigned char bytes[1024];
        if (sender.queue.size() > QUEUED) return;
        const ssize_t count = ::read(fd, bytes, sizeof bytes);
        if (count > 0) {
            if (!first) first = cycles;
            sender.queue.insert(sender.queue.end(), bytes, bytes + count);
            quiet = 0;
        }
        open = count >= 0 || errno != EIO;
    }

    // Exchange bytes with the terminal, waiting for it while the device sleeps. False when standard input ended.
    bool exchange(bool with_commands) {
        pollfd files[2] = {{fd, POLLIN, 0}, {with_commands ? 0 : -1, POLLIN, 0}};
        if (!receiver.received.empty()) files[0].events |= POLLOUT;
        // A closed terminal is always "ready", so it is looked at in intervals. A host that does not read stops time.
        const bool blocked = receiver.received.size() > QUEUED, unplugged = fd < 0;
        if (asleep() && !open) usleep(20'000);
        if (blocked) files[0].events = POLLOUT;
        const bool waits = (asleep() && open) || blocked;
        if (poll(files, 2, waits ? (!unplugged && top->busy ? 1 : 1000) : 0) < 0) return true;
        if (files[1].revents && !commands()) return false;
        if (unplugged || fd < 0) return true;
        if (files[0].revents & (POLLIN | POLLHUP)) read_in();
        else if (!blocked) open = true;
        write_out();
        return true;
    }
};

}  // namespace

int main(int argc, char **argv) {
    if (argc != 3 && argc != 4) {
        std::fprintf(stderr, "usage: %s CYCLES_PER_BIT COMMANDS [SYMLINK]\n", argv[0]);
        return 2;
    }
    struct sigaction action = {};
    action.sa_handler = stop;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);

    Board board(std::atof(argv[1]), argc == 4 ? argv[3] : nullptr);
    if (!board.plug()) {
        std::perror("board: no pseudo-terminal");
        return 1;
    }
    std::fflush(stdout);
    const bool with_commands = std::atoi(argv[2]);

    using clock = std::chrono::steady_clock;
    std::chrono::duration<double> working{0};
    long worked = 0;
    while (!stopped && board.exchange(with_commands)) {
        if (board.asleep()) continue;
        const auto begin = clock::now();
        board.run();
        working += clock::now() - begin;
        worked += CHUNK;
    }
    board.unplug();
    if (worked) {
        std::fprintf(stderr, "board: %ld cycles simulated at %.0f per second\n", worked, worked / working.count());
    }
    return 0;
}
