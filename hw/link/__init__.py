"""The host link: `uart` moves bytes, `cobs` and `frames` make frames of them, `endpoint` answers requests.

Only `uart` knows about a wire; `endpoint` sees byte streams, so another link replaces one file.
"""
