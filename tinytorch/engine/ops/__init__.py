"""All ops, one block each: shape rule, NumPy reference, gradient, FLOPs, samples.

`from tinytorch.engine import ops` and then `ops.relu(x)` computes on arrays; `core.tensor` wraps the same ops.
"""

from tinytorch.engine.ops.activation import *  # noqa: F403
from tinytorch.engine.ops.attention import *  # noqa: F403
from tinytorch.engine.ops.augment import *  # noqa: F403
from tinytorch.engine.ops.clipping import *  # noqa: F403
from tinytorch.engine.ops.conv import *  # noqa: F403
from tinytorch.engine.ops.decoding import *  # noqa: F403
from tinytorch.engine.ops.dropout import *  # noqa: F403
from tinytorch.engine.ops.elementwise import *  # noqa: F403
from tinytorch.engine.ops.index import *  # noqa: F403
from tinytorch.engine.ops.loss import *  # noqa: F403
from tinytorch.engine.ops.matmul import *  # noqa: F403
from tinytorch.engine.ops.movement import *  # noqa: F403
from tinytorch.engine.ops.norm import *  # noqa: F403
from tinytorch.engine.ops.pool import *  # noqa: F403
from tinytorch.engine.ops.reduce import *  # noqa: F403
from tinytorch.engine.ops.update import *  # noqa: F403
