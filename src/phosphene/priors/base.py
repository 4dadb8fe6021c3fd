"""`Prior`: embedding to embedding. Knows nothing of EEG or pictures."""

from typing import ClassVar, Self

from torch import Tensor, nn

from phosphene.errors import PhospheneError


class Prior(nn.Module):
    """Base of every prior: from what an encoder makes of EEG to what a generator draws from.

    Parameters
    ----------
    n_inputs, n_outputs : lengths of the embeddings.
    """

    #: whether it is solved in closed form, by `fit`; else it is trained, by `loss`
    solved: ClassVar[bool] = True

    def __init__(self, n_inputs: int, n_outputs: int):
        super().__init__()
        self.n_inputs, self.n_outputs = n_inputs, n_outputs

    def fit(self, inputs: Tensor, targets: Tensor) -> Self:
        """Learn from matched rows: ``inputs`` (n, n_inputs) and ``targets`` (n, n_outputs)."""
        raise PhospheneError(f"{type(self).__name__} is trained, not solved: give it a stage of epochs")

    def observe(self, targets: Tensor, conditions: Tensor) -> Self:
        """What a trained prior has to know before it starts, such as the scale of its training ``targets``
        (n, n_outputs) and ``conditions`` (n, n_inputs)."""
        return self

    def loss(self, condition: Tensor, target: Tensor) -> Tensor:
        """Of one batch of matched rows, (batch, n_inputs) and (batch, n_outputs), for a prior that is trained."""
        raise PhospheneError(f"{type(self).__name__} is solved, not trained: call fit")
