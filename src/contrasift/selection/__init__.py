"""Which examples to keep: the SAS objective in linear form, its optimisers, and the controls.

    F_λ(S) = ⟨M, T⟩ − λ‖M‖²,   T = Σ_{i∈V} z_i,   M = Σ_{j∈S} z_j

From a call to the line that picks the next example:

    select.select                       the options, budgets by class, one class after another
      -> local.LocalEngine              where classes are solved: here (or `contrasift.engines`, Ray)
      -> solve.solve                    which objective, by its name: `SOLVERS`
      -> objectives.sas.solve_linear    `sas`: greedy, the relaxation, refinements
      -> optimizers.greedy.greedy       the exact greedy order: bounds, and how ties go
      -> kernels.greedy_steps.run_window   refresh what may be best; the best gain is picked

- `objectives`: what is maximised; `optimizers`: how; `kernels`: the loops, in one order of sums
- `baselines`: the rankings to hold a selection against
- `plan`, `budget`, `assemble`: what is chosen from, how many of each class, and the result
- `diagnostics`: the aims behind the surrogate, of any selection

Every option is a field of `contrasift.options.ChoiceOptions`; `task.SettledOptions` are the same
with λ settled. Nothing is imported here: numba loads only when a selection is made.
"""
