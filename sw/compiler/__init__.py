"""Graph in, program out: `compile(graph, config)`."""

from sw.compiler.compile import compile
from sw.compiler.program import CompileError, Program, Stage

__all__ = ["CompileError", "Program", "Stage", "compile"]
