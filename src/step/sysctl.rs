//! Kernel parameters through /proc/sys.
