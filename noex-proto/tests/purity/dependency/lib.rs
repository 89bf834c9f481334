//! Never compiled: only the manifest is read.
