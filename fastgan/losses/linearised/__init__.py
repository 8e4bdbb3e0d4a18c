# SPDX-License-Identifier: Apache-2.0
"""Gradient penalties of a piecewise-linear critic with no second-order graph, exactly.

With D piecewise linear in x (l counts the layers, A_l their linear maps, M_l the masks that the
activations chose, both held where they are) and P any function of g = ∇ₓ Σ D(x):

    forward     h_{l+1} = M_l (A_l(w_l) h_l + b_l)
    adjoint     δ_l = A_l(w_l)ᵀ M_l δ_{l+1}         from ones at the logits; g is the last δ
    tangent     t_{l+1} = M_l A_l(w_l) t_l          from t_0 = ∂P/∂g, no biases
    ∂P/∂w_l     the layer's weight gradient for input t_l and output gradient M_l δ_{l+1}

A loss L of the logits, one per sample and samples not mixed, has c_n = ∂L/∂D_n and the weight
gradient for input c·h_l and the *same* output gradient. Its input adds to the tangent:

    ∂(L + P)/∂w_l = weight gradient(input c·h_l + t_l, output gradient M_l δ_{l+1})

So L + P costs four passes over the layers, where differentiating the gradient takes six (seven
with a forward pass of its own for each part).

What mixes samples nonlinearly (minibatch standard deviation, batch normalisation) is refused even
near the end of D: the δ of L and of P then differ by more than a factor per sample, which makes
six passes, the very number that double backward takes from a shared forward pass.

Of fastgan's operators these are followed, where the activation is linear, relu or leaky ReLU:
`upfirdn2d` and what is made of it, the convolutions, `bias_act`, `bias_act_filter2d`,
`filtered_lrelu`, `noise_bias_act` and `modulate`, the last two with noise, scales and factors that
do not depend on x. `attention`, `anti_aliased_snake`, `minibatch_stddev`, `demodulation`,
`channel_dot` and `gradient_penalty` of values that depend on x are refused.

`linearise` runs D once, as it is. Forward and adjoint are autograd's own; a tape (`tape.py`) notes,
per operator that x flows through, how a tangent follows it and which tensors outside x it
multiplies or adds. These tensors are the inputs of one autograd node, whose outputs are the logits
and g; from them to the parameters (scaled, cast, normalised or shared weights, embeddings of c)
autograd goes its way, hooks and all. Nothing is cached between calls: weights, flags, shapes,
Python values and random draws are those of this very forward pass.

Sources: R1, Mescheder et al. (2018); that a ReLU network's input gradient is linear in each of its
weights is common knowledge, the merged pass is worked out here.
"""

from fastgan.losses.linearised.merged_pass import Linearised, linearise, refusal, worth_trying

__all__ = ["Linearised", "linearise", "refusal", "worth_trying"]
