"""The dishonest server, played: every attack really carried out, against an unprotected control and against fedsec.

Against masked updates and against the protocol the control must fall and fedsec must not. What the opened, noisy sum
still gives is measured and held beside the bound that (epsilon, delta) sets. What is not protected is shown as such.
Start reading at :mod:`compliance.attacks.suite`; the broken variants are in :mod:`compliance.attacks.controls`.
"""
