//! Checksums of Parquet pages.
//!
//! The parquet crate verifies the CRC-32 of a page when it reads one, but does not write it. It hands every finished
//! page to a page store, as two blobs: the header in Thrift's compact protocol, then the data. This store computes
//! the CRC of the data and inserts it into the header (`PageHeader.crc` of the Parquet format). Headers grow by that,
//! so the sizes and offsets of the column chunk are corrected before it goes into the file.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, PageKey, PageStore, PageStoreArgs, PageStoreFactory,
};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedRowGroupWriter;

/// `PageType.DICTIONARY_PAGE`.
const DICTIONARY_PAGE: u32 = 2;
/// A field of Thrift's compact protocol: an i32 whose number is one more than that of the previous field.
const NEXT_I32: u8 = 0x15;

/// Makes a store for each column chunk and keeps it until it is [taken](Stores::take).
#[derive(Debug, Default)]
pub(super) struct Stores(Mutex<Vec<Pages>>);

impl Stores {
    /// The stores made since the last call, in column order.
    pub(super) fn take(&self) -> Vec<Pages> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PageStoreFactory for Stores {
    fn create(&self, _: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>> {
        let pages = Pages::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pages.clone());
        Ok(Box::new(pages))
    }
}

/// The pages of one column chunk; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Pages(Arc<Mutex<Chunk>>);

#[derive(Debug, Default)]
struct Chunk {
    /// A header whose data have not arrived.
    header: Option<Bytes>,
    dictionary: Vec<Page>,
    data: Vec<Page>,
    size: usize,
}

#[derive(Debug)]
struct Page {
    header: Vec<u8>,
    data: Bytes,
    /// Octets that the checksum added to the header.
    grown: usize,
}

impl PageStore for Pages {
    fn put(&mut self, blob: Bytes) -> Result<PageKey> {
        let mut chunk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match chunk.header.take() {
            None => chunk.header = Some(blob),
            Some(header) => {
                let (header_with_crc, kind) = with_crc(&header, crc32fast::hash(&blob))?;
                let grown = header_with_crc.len() - header.len();
                chunk.size += header_with_crc.len() + blob.len();
                let page = Page { header: header_with_crc, data: blob, grown };
                match kind {
                    DICTIONARY_PAGE => chunk.dictionary.push(page),
                    _ => chunk.data.push(page),
                }
            }
        }
        Ok(PageKey::new(0))
    }

    fn take(&mut self, _: PageKey) -> Result<Bytes> {
        Err(ParquetError::General("the pages of a column chunk are taken all at once".into()))
    }

    fn memory_size(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size
    }
}

/// A column chunk with checksums, ready to be written to a row group.
pub(super) struct Column {
    octets: Bytes,
    close: ColumnCloseResult,
}

impl Column {
    /// The pages of a finished column, the dictionary first.
    pub(super) fn new(pages: &Pages, chunk: &ArrowColumnChunk) -> Result<Self> {
        let mut close = chunk.close().clone();
        let Chunk { dictionary, data, size, .. } =
            std::mem::take(&mut *pages.0.lock().unwrap_or_else(PoisonError::into_inner));
        let length = |page: &Page| page.header.len() + page.data.len();
        let grown: usize = dictionary.iter().chain(&data).map(|page| page.grown).sum();
        let of_dictionary: usize = dictionary.iter().map(length).sum();
        if let Some(index) = &mut close.offset_index {
            let mut offset = of_dictionary;
            for (location, page) in index.page_locations.iter_mut().zip(&data) {
                location.offset = offset as i64;
                location.compressed_page_size = i32::try_from(length(page))?;
                offset += length(page);
            }
        }
        let metadata = close.metadata;
        let (compressed, uncompressed) = (metadata.compressed_size(), metadata.uncompressed_size());
        close.metadata = metadata
            .into_builder()
            .set_total_compressed_size(compressed + grown as i64)
            .set_total_uncompressed_size(uncompressed + grown as i64)
            .set_dictionary_page_offset((of_dictionary > 0).then_some(0))
            .set_data_page_offset(of_dictionary as i64)
            .build()?;
        close.bytes_written += grown as u64;
        let mut octets = Vec::with_capacity(size);
        for Page { header, data, .. } in dictionary.into_iter().chain(data) {
            octets.extend_from_slice(&header);
            octets.extend_from_slice(&data);
        }
        Ok(Self { octets: octets.into(), close })
    }

    /// Appends it to a row group as its next column.
    pub(super) fn append<W: Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<()> {
        group.append_column(&self.octets, self.close)
    }
}

/// A page header with this checksum, and the type of the page.
///
/// The header's first fields are the page's type (1) and its two sizes (2, 3), all i32 and always present. The
/// checksum is field 4. The next field's header has the difference between its number and the previous one.
fn with_crc(header: &[u8], crc: u32) -> Result<(Vec<u8>, u32)> {
    let unknown = || ParquetError::General("a page header has an unknown form".into());
    let (mut at, mut kind) = (0, 0);
    for field in 0..3 {
        if header.get(at) != Some(&NEXT_I32) {
            return Err(unknown());
        }
        let value = &header[at + 1..];
        let length = value.iter().position(|octet| octet & 0x80 == 0).ok_or_else(unknown)? + 1;
        if field == 0 {
            // Zigzag, one octet: page types are small.
            kind = u32::from(value[0]) >> 1;
        }
        at += 1 + length;
    }
    let next = *header.get(at).ok_or_else(unknown)?;
    // At least 2: field 4 does not exist yet.
    if next >> 4 < 2 {
        return Err(unknown());
    }
    let mut out = Vec::with_capacity(header.len() + 6);
    out.extend_from_slice(&header[..at]);
    out.push(NEXT_I32);
    let signed = crc.cast_signed();
    let mut zigzag = ((signed << 1) ^ (signed >> 31)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
    out.push(next - 0x10);
    out.extend_from_slice(&header[at + 1..]);
    Ok((out, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_field_4_of_a_page_header() {
        // A data page: type 0, sizes 100 and 50, field 5 a struct.
        let header = [0x15, 0, 0x15, 0xc8, 0x01, 0x15, 0x64, 0x2c, 0x15, 2, 0, 0];
        let (with, kind) = with_crc(&header, 1).unwrap();
        assert_eq!(kind, 0);
        assert_eq!(with, [0x15, 0, 0x15, 0xc8, 0x01, 0x15, 0x64, 0x15, 2, 0x1c, 0x15, 2, 0, 0]);
        // A dictionary page (field 7), and the longest checksum.
        let (with, kind) = with_crc(&[0x15, 4, 0x15, 0, 0x15, 0, 0x4c, 0], 0x8000_0000).unwrap();
        assert_eq!(kind, DICTIONARY_PAGE);
        assert_eq!(with, [0x15, 4, 0x15, 0, 0x15, 0, 0x15, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x3c, 0]);
        for bad in [&header[..6], &[0x15, 0, 0x15, 0, 0x15, 0, 0x15, 0, 0x1c], &[], &[0x15, 0x80]] {
            assert!(with_crc(bad, 1).is_err());
        }
    }
}
