"""Unbounded proofs of the blocks of link and control: `python -m sim.formal`.

Each block meets its contract from every state that its invariants allow, by k-induction, not only for some cycles.
Each proof also reaches its covers, so that it is not about nothing, and fails on a copy of the block with a seeded bug.
"""
