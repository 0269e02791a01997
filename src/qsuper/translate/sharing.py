"""Whether another process may map the guest's memory, as vhost-user devices must."""

from qsuper.translate.model import Context
from qsuper.translate.parts.backing import MemoryAccess, SourceType


def shares_memory(context: Context) -> bool:
    """Tell whether all of the guest's memory is shared."""
    if context.domain.fabric.ram is not None:
        return True
    backing = context.domain.memory.backing
    is_shared = backing.access is MemoryAccess.SHARED or backing.source is SourceType.MEMFD
    cells = context.domain.numa.cells
    if cells:
        return all(
            cell.access is MemoryAccess.SHARED or (is_shared and cell.access is None)
            for cell in cells
        )
    return is_shared
