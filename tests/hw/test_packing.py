"""What is done to Artix-7 netlists before nextpnr: they compute what they did, and are what its packer takes well."""

import io
import json
import random
import re
from collections import Counter, defaultdict

import pytest
from amaranth.hdl import Cat, Module, Mux, Signal

from boards import find
from hw.build.design import BoardTop
from hw.build.flow import Stage
from hw.build.lut6 import FRACTURED, cell_of, pairs
from hw.build.packing import SCRIPTS, packed
from hw.build.tools import Console
from hw.build.xc7 import XC7, database
from hw.popcount import MatchCount
from tests.hw.small import Small

INPUTS = range(2, 18)  # nets that no cell drives


def cell(kind, outputs=("O",), parameters=None, **ports):
    return {
        "type": kind, "parameters": parameters or {}, "attributes": {},
        "connections": {port: bits if isinstance(bits, list) else [bits] for port, bits in ports.items()},
        "port_directions": {port: "output" if port in outputs else "input" for port in ports},
    }


def lut(rng, inputs, output):
    init = "".join(rng.choice("01") for _ in range(1 << len(inputs)))
    ports = {f"I{n}": net for n, net in enumerate(inputs)}
    return cell(f"LUT{len(inputs)}", parameters={"INIT": init}, **ports, O=output)


def flip_flop(net, output):
    return cell("FDRE", outputs=("Q",), D=net, C="0", CE="1", R="0", Q=output)


def some(seed):
    """A random netlist: functions of everything before them, an inverter, carry chains, flip-flops."""
    rng, cells, nets = random.Random(seed), {}, list(INPUTS)

    def new():
        nets.append(nets[-1] + 1)
        return nets[-1]

    for n in range(60):
        inputs = rng.sample(nets[:-1] if rng.random() < 0.3 else nets[:6], rng.randint(1, 6))
        if rng.random() < 0.1:
            inputs[0] = rng.choice("01")
        cells[f"lut{n}"] = lut(rng, inputs, new())
    for n in range(4):
        cells[f"inv{n}"] = cell("INV", I=rng.choice(nets), O=new())
    for n in range(6):
        sums, others = rng.sample(nets, 4), [rng.choice([*rng.sample(nets, 3), "0", "1"]) for _ in range(4)]
        for bit in range(4):  # one of the function's own inputs, most often
            driver = next((c for c in cells.values() if c["connections"].get("O") == [sums[bit]]), None)
            if driver and "I0" in driver["connections"] and rng.random() < 0.6:
                others[bit] = driver["connections"]["I0"][0]
        cells[f"carry{n}"] = cell(
            "CARRY4", outputs=("O", "CO"), S=sums, DI=others, CI=rng.choice("01"), CYINIT="0",
            O=[new() for _ in range(4)], CO=[new() for _ in range(4)])
    for n in range(20):
        cells[f"ff{n}"] = flip_flop(rng.choice(nets), new())
    return cells


def write(folder, cells):
    (folder / "top.json").write_text(json.dumps({"modules": {"top": {"cells": cells, "netnames": {}}}}))
    return folder / "top.json"


def repacked(folder, cells):
    packed(write(folder, cells), folder / "packed.json")
    return json.loads((folder / "packed.json").read_text())["modules"]["top"]["cells"]


def united(cells):
    """The netlist after placement: twins have the inputs and the second output of their partners."""
    cells = json.loads(json.dumps(cells))
    for twin in cells.values():
        if partner := twin["attributes"].get("TWIN_OF"):
            first = cells[partner]
            assert twin["connections"] == {"I0": ["1"]}
            pins = [int(pin) - 1 for pin in twin["attributes"]["TWIN_PINS"].split()]
            twin["connections"] = {f"I{n}": first["connections"].get(f"I{n}", ["0"]) if n in pins else ["0"]
                                   for n in range(int(twin["type"][3]))} | {"O": first["connections"].pop("O5")}
    return cells


def values(cells, given):
    """Every net's value, for those of `INPUTS` and of flip-flops in `given`."""
    known = {**given, "0": 0, "1": 1}

    def drive(c):
        wires = {port: [known[bit] for bit in bits] for port, bits in c["connections"].items()
                 if port not in ("O", "CO", "O5")}
        if c["type"] == "INV":
            return [(c["connections"]["O"][0], 1 - wires["I"][0])]
        if c["type"].startswith("LUT"):
            row = sum(wires[f"I{n}"][0] << n for n in range(int(c["type"][3])))
            return [(c["connections"]["O"][0], int(c["parameters"]["INIT"][-1 - row]))]
        carry, out = wires["CI"][0], []
        for n in range(4):
            out.append((c["connections"]["O"][n], wires["S"][n] ^ carry))
            carry = carry if wires["S"][n] else wires["DI"][n]
            out.append((c["connections"]["CO"][n], carry))
        return out

    left = [c for c in cells.values() if c["type"] != "FDRE"]
    while left:
        ready = [c for c in left if all(
            bit in known for port, bits in c["connections"].items() if port not in ("O", "CO", "O5") for bit in bits)]
        assert ready, "a loop"
        for c in ready:
            known.update(drive(c))
            left.remove(c)
    return known


@pytest.mark.parametrize("seed", range(12))
def test_every_net_keeps_its_value(tmp_path, seed):
    before, rng = some(seed), random.Random(seed)
    after = united(repacked(tmp_path, before))
    assert any("TWIN_OF" in c["attributes"] for c in after.values())
    for _ in range(16):
        given = {net: rng.randint(0, 1) for net in INPUTS} | {
            c["connections"]["Q"][0]: rng.randint(0, 1) for c in before.values() if c["type"] == "FDRE"}
        expected, found = values(before, given), values(after, given)
        assert {net: found[net] for net in expected} == expected


def readers_of(cells):
    return [bit for c in cells.values() for port, bits in c["connections"].items()
            if c["port_directions"][port] == "input" for bit in bits]


@pytest.mark.parametrize("seed", range(4))
def test_a_carry_chain_has_tables_of_its_own(tmp_path, seed):
    """nextpnr finds what it would put before the chain: one reader, and the other input is no sixth."""
    cells, seen = repacked(tmp_path, some(seed)), 0
    tables = {c["connections"]["O"][0]: c for c in cells.values()
              if "O" in c["connections"] and c["type"] in [f"LUT{n}" for n in range(1, 6)]}
    readers = readers_of(cells)
    for c in cells.values():
        for carry, other in zip(c["connections"].get("S", []), c["connections"].get("DI", []), strict=True):
            if carry in tables:
                assert readers.count(carry) == 1
                assert isinstance(other, int)
                assert other not in cell_of(tables[carry]).inputs
                seen += 1
    assert seen > 5


def test_partners_fit_and_feed_one_flip_flop_at_most(tmp_path):
    cells = repacked(tmp_path, some(1))
    sinks = {c["connections"]["D"][0] for c in cells.values() if c["type"] == "FDRE"}
    readers = readers_of(cells)
    twins = [c["attributes"]["TWIN_OF"] for c in cells.values() if "TWIN_OF" in c["attributes"]]
    assert len(set(twins)) == len(twins) > 5
    for name in twins:
        ports = cells[name]["connections"]
        assert len(ports) - 2 <= FRACTURED
        outputs = [ports[port][0] for port in ("O", "O5")]
        single = [net for net in outputs if net in sinks and readers.count(net) == 1]
        assert single in ([], ports["O"])


def test_partners_are_as_deep_as_each_other():
    """A pair whose functions depend on each other through another pair would be a loop of cells."""
    rng = random.Random(1)
    cells = [lut(rng, [2, 3], 10), lut(rng, [2, 3, 10], 11), lut(rng, [2, 3], 12)]
    assert pairs([cell_of(c) for c in cells]) == [(0, 2)]
    assert pairs([cell_of(c) for c in cells[:2]]) == []


def test_the_scripts_name_what_the_netlist_has():
    """Attributes are the only link between the netlist and the tool's scripts."""
    for name in ("park.py", "unite.py"):
        assert set(re.findall(r'"(TWIN_\w+)"', (SCRIPTS / name).read_text())) == {"TWIN_OF", "TWIN_PINS"}


class Counting(Small):
    """The accelerator's ports around a match counter and an accumulator: fused adders, counters and carry chains."""

    def elaborate(self, platform):
        m = Module()
        bits, total = Signal(64), Signal(12)
        m.submodules.count = count = MatchCount(32, 1)
        m.d.sync += [bits.eq(Cat(self.rx, bits)), total.eq(Mux(bits[5], total, total << 1) + count.o)]
        m.d.comb += [
            count.a.eq(bits[:32]), count.b.eq(bits[32:]), count.enable.eq(bits[7]), count.split.eq(bits[9]),
            self.tx.eq(total[5]), self.busy.eq(total[11]), self.error.eq(total.xor()),
        ]
        return m


def nets_of(module):
    """The names of each net."""
    names = defaultdict(set)
    for name, net in module["netnames"].items():
        for n, bit in enumerate(net["bits"]):
            names[bit].add(name if len(net["bits"]) == 1 else f"{name}[{n}]")
    return names


def tables_due(netlist, placed):
    """How often each 64-bit table must be in the configuration, by the nets that the router brought to each pin."""
    known = {name: bit for bit, names in nets_of(netlist).items() for name in names}
    names, sites, due = nets_of(placed), defaultdict(dict), Counter()
    for name, c in placed["cells"].items():
        if found := re.fullmatch(r"(.*[A-D])([56])LUT", c["attributes"].get("NEXTPNR_BEL", "")):
            sites[found[1]][int(found[2])] = name, c
    for tables in sites.values():
        logical = {size: netlist["cells"].get(name, {"type": "none"}) for size, (name, _) in tables.items()}
        if not all(c["type"].startswith("LUT") for c in logical.values()):
            continue  # inverters, and the packer's own
        rows = ["0"] * 64
        for size, (_, c) in tables.items():
            pins = {known[alias]: n for n in range(6) if (bits := c["connections"].get(f"A{n + 1}"))
                    for alias in names[bits[0]] if alias in known}
            function = logical[size]
            inputs = [function["connections"][f"I{n}"][0] for n in range(int(function["type"][3]))]
            span = range(64) if len(tables) == 1 else range(32) if size == 5 else range(32, 64)
            for row in span:
                index = sum((row >> pins[net] & 1 if isinstance(net, int) else int(net)) << n
                            for n, net in enumerate(inputs))
                rows[row] = function["parameters"]["INIT"][-1 - index]
        due["".join(reversed(rows))] += 1
    return due


@pytest.mark.skipif(database() is None, reason="needs nextpnr-himbaechel-xilinx and prjxray (ABACUS_XC7_PREFIX)")
def test_every_table_is_in_the_configuration(tmp_path):
    """What nextpnr writes for a LUT is the netlist's function of the nets that it brought there, in both halves."""
    board = find("arty_a7")
    stage = Stage(board, lambda: BoardTop(board, Counting(), 100_000_000), 100_000_000, 1, tmp_path, tmp_path,
                  Console(io.StringIO()))
    flow = XC7()
    flow.prepare(stage)
    flow.synthesise(stage)
    flow.route(stage)
    netlist, ready, placed = (json.loads((tmp_path / f"{name}.json").read_text())["modules"]["top"]
                              for name in ("top", "packed", "placed"))
    assert sum("TWIN_OF" in c["attributes"] for c in ready["cells"].values()) > 8
    due = tables_due(netlist, placed)
    assert due.total() > 40
    written = Counter(re.findall(r"LUT\.INIT\[63:0\] = 64'b([01]+)", (tmp_path / "top.fasm").read_text()))
    assert not due - written
