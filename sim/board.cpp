// Runs the verilated top with its serial line on a file descriptor, usually the master side of a pseudo-terminal.
//
// usage: board FD CYCLES_PER_BIT START_CYCLES UNTIL_EOF
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
#include <poll.h>
#include <string>
#include <unistd.h>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr int CHUNK = 512;              // cycles between looks at the file descriptor
constexpr long SETTLED = 20'000;        // quiet cycles after which nothing more can come from an idle device
constexpr long STARVED = 2'000'000;     // quiet cycles after which a busy device is taken to wait for the host
constexpr size_t QUEUED = 4096;         // bytes to the device held here; the rest waits in the terminal

volatile std::sig_atomic_t stopped = 0;
void stop(int) { stopped = 1; }

// Host to device: one level per cycle.
struct Sender {
    double cycles_per_bit, left = 0;
    unsigned shift = 1, bits = 0;
    std::deque<unsigned char> queue;

    bool idle() const { return bits == 0 && queue.empty(); }
    bool step() {
        if (bits == 0) {
            if (queue.empty()) return true;
            shift = queue.front() << 1 | 0x200;
            queue.pop_front();
            bits = 10;
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

    void step(bool level) {
        if (bits == 0) {
            if (level) return;
            bits = 10;
            shift = 0;
            left = cycles_per_bit / 2;
        }
        if ((left -= 1) > 0) return;
        left += cycles_per_bit;
        shift |= unsigned(level) << (10 - bits);
        if (--bits == 0 && level) received.push_back(char(shift >> 1));
    }
};

struct Board {
    VerilatedContext context;
    Vtop top{&context};
    Sender sender;
    Receiver receiver;
    int fd;
    bool open = true;  // somebody has the terminal open
    long quiet = 0, cycles = 0;

    Board(int fd, double cycles_per_bit) : sender{cycles_per_bit}, receiver{cycles_per_bit}, fd(fd) {}

    void cycle() {
        top.rx = sender.step();
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        receiver.step(top.tx);
        ++cycles;
    }

    void start(long count) {
        top.rx = 1;
        top.rst = 1;
        for (int i = 0; i < 4; ++i) cycle();
        top.rst = 0;
        for (long i = 0; i < count; ++i) cycle();
    }

    void run() {
        for (int i = 0; i < CHUNK; ++i) {
            cycle();
            quiet = sender.idle() && receiver.bits == 0 ? quiet + 1 : 0;
        }
    }

    bool asleep() const { return quiet > (top.busy ? STARVED : SETTLED) && receiver.received.empty(); }

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
        if (count > 0) sender.queue.insert(sender.queue.end(), bytes, bytes + count), quiet = 0;
        open = count >= 0 || errno != EIO;
    }

    // Exchange bytes with the terminal, waiting for it while the device sleeps. False when standard input ended.
    bool exchange(bool until_eof) {
        pollfd files[2] = {{fd, POLLIN, 0}, {until_eof ? 0 : -1, POLLIN, 0}};
        if (!receiver.received.empty()) files[0].events |= POLLOUT;
        // A closed terminal is always "ready", so it is looked at in intervals. A host that does not read stops time.
        const bool blocked = receiver.received.size() > QUEUED;
        if (asleep() && !open) usleep(20'000);
        if (blocked) files[0].events = POLLOUT;
        if (poll(files, 2, (asleep() && open) || blocked ? (top.busy ? 1 : 1000) : 0) < 0) return true;
        if (files[1].revents) {
            char ignored[256];
            if (::read(0, ignored, sizeof ignored) <= 0) return false;
        }
        if (files[0].revents & (POLLIN | POLLHUP)) read_in();
        else if (!blocked) open = true;
        write_out();
        return true;
    }
};

}  // namespace

int main(int argc, char **argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: %s FD CYCLES_PER_BIT START_CYCLES UNTIL_EOF\n", argv[0]);
        return 2;
    }
    struct sigaction action = {};
    action.sa_handler = stop;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);

    Board board(std::atoi(argv[1]), std::atof(argv[2]));
    fcntl(board.fd, F_SETFL, fcntl(board.fd, F_GETFL) | O_NONBLOCK);
    board.start(std::atol(argv[3]));
    const bool until_eof = std::atoi(argv[4]);

    using clock = std::chrono::steady_clock;
    std::chrono::duration<double> working{0};
    long worked = 0;
    while (!stopped && board.exchange(until_eof)) {
        if (board.asleep()) continue;
        const auto begin = clock::now();
        board.run();
        working += clock::now() - begin;
        worked += CHUNK;
    }
    if (worked) {
        std::fprintf(stderr, "board: %ld cycles simulated at %.0f per second\n", worked, worked / working.count());
    }
    return 0;
}
