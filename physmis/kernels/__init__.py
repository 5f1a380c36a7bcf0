"""Data deviation kernels, the transitions that they induce, and the expansion for small errors."""
# ruff: noqa: F401

from physmis.kernels.before_training import SHARE, SIZES, Forecast, forecast_before_training
from physmis.kernels.expansion import bias_and_blur, expand
from physmis.kernels.kernels import (
    HeldEnds,
    IsotropicKernel,
    Kernel,
    References,
    RoundTripKernel,
    TangentKernel,
    of_kind,
)
from physmis.kernels.transition import Matrix, Transition, forecast, induced_transition, transition
