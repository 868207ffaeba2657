"""The theory of negatives and subsets as calculators: numbers in, numbers out.

`urns`, `coupon`: how many draws see every class, how many collide (Nozawa & Sato 2021).
`bounds`: what a contrastive loss says about a supervised one (Arora et al. 2019, Nozawa & Sato).
`guarantees`: what a subset promises about the encoder that is trained on it (SAS, theorems 4.1, 4.3).
"""
