//! A downloaded archive or layer becomes a directory.
//!
//! - [`Digest`] names the bytes of an archive. [`Hasher`] computes it, also while the
//!   bytes come.
//! - [`unpack()`] unpacks an archive into an empty directory, and trusts nothing in it.
//! - [`Store`] keeps such a directory at its place: it replaces it in one step, and
//!   keeps archives beside it.
//! - [`unpack_layer()`] unpacks a layer of an image, and [`LayerStore`] keeps unpacked
//!   layers for all images.
//! - [`oci`] reads an image on disk.
//! - [`Folder`] is a directory by its descriptor.
//!
//! This crate reads no command line, uses no network and prints nothing. A [`Client`]
//! gives it the words for its errors, and takes its notes.

mod cache;
mod digest;
mod folder;
mod layer_store;
pub mod oci;
mod place;
mod store;
mod unpack;

pub use digest::{Algorithm, Digest, Hasher};
pub use folder::{Folder, PART};
pub use layer_store::LayerStore;
pub use place::names;
pub use store::{Client, Contents, Found, Store, lock};
pub use unpack::{LeftOut, Limits, Notes, unpack, unpack_layer};
