"""`python -m phosphene`, and what `torchrun -m phosphene` starts."""

from phosphene.cli import main

main()
