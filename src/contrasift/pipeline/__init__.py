"""The stages in order. A finished one is skipped, a killed one goes on, none is trusted half-written.

pool ──scan──> examples ──proxy, embed──> embeddings ──classes──> latent classes
     ──select──> selection ──train──> encoders ──evaluate──> accuracies ──report──> a page
"""
