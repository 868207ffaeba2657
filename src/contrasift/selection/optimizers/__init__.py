"""How a class is solved: lazy greedy, Frank-Wolfe, and what refines either."""
