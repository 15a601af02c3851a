//! Dissection on etherparse.
