"""Faults of the machine that storage meets, and what to do about each."""

from __future__ import annotations

import errno

REMEDIES = {
    errno.ENOSPC: "Make room",
    errno.EDQUOT: "Make room",
    errno.EFBIG: "Make room",
    errno.EROFS: "Make the folder writable",
    errno.EACCES: "Make the folder writable",
    errno.EPERM: "Make the folder writable",
    errno.EIO: "See whether the disk is well",
    errno.ESTALE: "See whether the network file system is back",
    errno.ETIMEDOUT: "See whether the network file system is back",
    errno.EHOSTDOWN: "See whether the network file system is back",
    errno.ENOTCONN: "See whether the network file system is back",
    errno.EMFILE: "Let the process open more files (`ulimit -n`)",
    errno.ENFILE: "Let the system open more files",
    errno.ENOMEM: "Free memory",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ELOOP: "Choose a place that is no circle of links",
    errno.ENOTDIR: "Choose a place in a folder",
    errno.EEXIST: "Choose a place in a folder",
    errno.EISDIR: "Choose another name",
}


def what_to_do(error: OSError) -> str:
    """What mends a fault, where files could not be written."""
    return REMEDIES.get(error.errno or 0, "Free space, or see to the disk")


def reading_remedy(error: Exception, otherwise: str) -> str:
    """What to do about a file that cannot be read: another thing where only the right is missing."""
    return "See that you may read it" if isinstance(error, PermissionError) else otherwise
