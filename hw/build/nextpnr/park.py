"""Run by nextpnr before placement: bind every twin of `hw.build.packing` to a place that no logic can take."""

# Cells of input and output logic; the netlists of this project have none there.
LOTS = ("/ILOGIC_", "/OLOGIC_", "/IDELAY_")

twins = [(cell, attributes) for _, cell in ctx.cells if "TWIN_OF" in (attributes := {k: v for k, v in cell.attrs})]
# A name may stand for several places, of which only one is found by it.
lots = list(dict.fromkeys(bel for bel in ctx.getBels() if any(lot in bel for lot in LOTS) and ctx.checkBelAvail(bel)))
if len(lots) < len(twins):
    raise SystemExit(f"{len(twins)} LUTs wait for their partners, but there are only {len(lots)} places for them")
for (twin, attributes), lot in zip(twins, reversed(lots), strict=False):
    ctx.bindBel(lot, twin, STRENGTH_LOCKED)
    # Ports must be known before the tool prepares for routing.
    for pin in attributes["TWIN_PINS"].split():
        if pin != "1":
            twin.addInput(f"A{pin}")
    twin.addOutput("O5")
    ctx.cells[attributes["TWIN_OF"]].addInput("A6")
