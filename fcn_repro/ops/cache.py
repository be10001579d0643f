"""What was made from a tensor, kept for as long as that stays as it is."""

import torch


class Kept:
    """The latest thing made from a tensor; made anew where the tensor is another one, or was
    written to. torch counts what is written: through torch, not through a NumPy view."""

    def __init__(self):
        self.key = self.value = self.tensor = None

    def get(self, tensor, make, *more):
        """make(tensor), detached, or what that gave before. more: what else it depends on."""
        if tensor.is_inference():           # torch counts no versions of such tensors
            return make(tensor)
        key = tensor.data_ptr(), tensor._version, tensor.dtype, tensor.device, *more
        if key != self.key:
            self.key = self.value = self.tensor = None      # frees it before there is another
            with torch.inference_mode(False), torch.no_grad():
                self.value = make(tensor.detach())
            self.key, self.tensor = key, tensor.detach()    # so that no other gets its memory
        return self.value
