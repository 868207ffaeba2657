"""Which examples to keep: the SAS objective in linear form, its optimisers, and the controls.

    F_λ(S) = ⟨M, T⟩ − λ‖M‖²,   T = Σ_{i∈V} z_i,   M = Σ_{j∈S} z_j

- `kernels`: one dot product in one order, sums that do not depend on order
- `objectives`: value, gains, the mean over random subsets
- `greedy`: the exact greedy order, lazily, without a similarity matrix
- `relaxation`: Frank–Wolfe: optimiser, upper bound, linear rule
- `threshold`: F_λ when similarities below τ count zero
- `coverage`, `herding`: the aims behind the surrogate; `measures`: both of any selection
- `baselines`: the rankings to hold a selection against
- `solve`: which of them solves which objective; `select`: class by class, the whole pool

Nothing is imported here: numba loads only when a selection is made.
"""
