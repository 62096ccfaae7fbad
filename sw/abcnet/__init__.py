"""ABC-Nets in PyTorch (Lin, Zhao, Pan: Towards Accurate Binary Convolutional Neural Network, NIPS 2017).

`quantize` has the formulas, `layers` the modules, `models` the networks, `train` the recipe, `checkpoint` the
file of a trained network and `reference` exact integer inference of an exported graph.
"""
