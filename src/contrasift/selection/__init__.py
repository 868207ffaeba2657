"""Which examples to keep: the SAS objective in linear form, its optimisers, and the controls.

    F_λ(S) = ⟨M, T⟩ − λ‖M‖²,   T = Σ_{i∈V} z_i,   M = Σ_{j∈S} z_j

From a call to the line that picks the next example:

    select.select            the options, budgets by class, one class after another
      -> local.LocalEngine   where classes are solved: this process (or `contrasift.engines`, Ray)
      -> solve.solve         which objective, by its name: `SOLVERS`
      -> linear.solve_linear the objective `sas`: greedy, the relaxation, refinements
      -> greedy.greedy       the exact greedy order: bounds, and how ties go
      -> greedy_steps.run_window   refresh the gain behind the best bound; the best is picked

- `kernels`: one dot product in one order, sums that do not depend on order
- `objectives`: value, gains, the mean over random subsets
- `relaxation`: Frank–Wolfe: optimiser, upper bound, linear rule
- `threshold`: F_λ when similarities below τ count zero
- `coverage`, `herding`: the aims behind the surrogate; `measures`: both of any selection
- `baselines`: the rankings to hold a selection against
- `plan`, `budget`, `assemble`: what is chosen from, how many of each class, and the result

Every option is a field of `contrasift.options.ChoiceOptions`; `task.SettledOptions` are the same
with λ settled. Nothing is imported here: numba loads only when a selection is made.
"""
