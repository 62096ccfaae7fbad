"""Run by nextpnr after placement: put every twin of `hw.build.packing` into the 5LUT beside its partner."""

POWER = "$PACKER_VCC_NET"  # on A6, a LUT6 is two functions of A1 to A5

for name, twin in list(ctx.cells):
    attributes = {key: value for key, value in twin.attrs}
    if (partner := attributes.get("TWIN_OF")) is None:
        continue
    first = ctx.cells[partner]
    ctx.unbindBel(twin.bel)
    ctx.bindBel(first.bel.removesuffix("6LUT") + "5LUT", twin, STRENGTH_STRONG)
    ctx.disconnectPort(name, "A1")
    twin.unsetAttr("X_ORIG_PORT_A1")
    for pin in attributes["TWIN_PINS"].split():
        ctx.connectPort(first.ports[f"A{pin}"].net.name, name, f"A{pin}")
        twin.setAttr(f"X_ORIG_PORT_A{pin}", f"I{int(pin) - 1}")
    output = first.ports["O5"].net.name
    ctx.disconnectPort(partner, "O5")
    ctx.connectPort(output, name, "O5")
    twin.setAttr("X_ORIG_PORT_O5", "O")
    ctx.connectPort(POWER, partner, "A6")
