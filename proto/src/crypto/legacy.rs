//! MD4, MD5, DES: each function names the one RFC that forces it.
