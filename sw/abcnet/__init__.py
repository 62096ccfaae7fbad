"""ABC-Nets in PyTorch (Lin, Zhao, Pan: Towards Accurate Binary Convolutional Neural Network, NIPS 2017).

`quantize` has the paper's formulas; `weights` and `activations` the quantisers of all schemes, `schemes` their names;
`layers` the modules, `architecture` networks as data, `models` the networks at hand, `train` the recipe, `checkpoint`
the file of a trained network and `reference` exact integer inference of an exported graph.
"""
