//! What of the store decodes what it finds on the disk, without DuckDB: the fuzz targets are built with it in seconds.

pub mod floor {
    //! The floor of time.
    pub mod text;
}
pub mod poison;
pub mod recovery {
    //! Start after damage.
    pub mod wal;
}
pub mod redelivery;
