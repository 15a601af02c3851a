//! A finished result, opened for reading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Fields, Schema, SchemaRef};

use super::quote::text;
use crate::error::{Error, Result};
use crate::sink::{self, Leaf, Stored};

/// A result: a Parquet file, or a folder of parts.
pub struct Source {
    /// Its path.
    path: PathBuf,
    files: Vec<PathBuf>,
    /// The columns of its records.
    pub schema: SchemaRef,
    /// Its metadata, without the prefix of keys.
    pub metadata: BTreeMap<String, String>,
    /// The metadata of a folder.
    run: Option<PathBuf>,
}

impl Source {
    /// Opens a result that is intact.
    ///
    /// # Errors
    /// If it is not a result in Parquet, or spoiled.
    pub fn open(path: &Path) -> Result<Self> {
        if sink::is_lines(path) {
            return Err(Error::Usage(format!(
                "read {}: a report is made of Parquet, not of NDJSON",
                path.display()
            )));
        }
        let checked = sink::check(path, &mut |_| ())?;
        checked.require("report", "`pathspider verify` says more")?;
        let files = checked.files;
        let Some(last) = files.last() else {
            return Err(Error::Usage(format!(
                "read {}: there are no Parquet files",
                path.display()
            )));
        };
        let stored = Stored::open(last)?;
        let fields = stored.schema().fields().clone();
        let of_struct = |name: &str| {
            fields.find(name).is_some_and(|(_, f)| matches!(f.data_type(), DataType::Struct(_)))
        };
        if !of_struct("target") || !of_struct("zero") {
            return Err(Error::Usage(format!(
                "read {}: it is not a result of pathspider: no structs target and zero",
                path.display()
            )));
        }
        let run = Some(path.join(sink::RUN)).filter(|run| run.is_file());
        let metadata = match &run {
            Some(run) => sink::read_json(run)?,
            None => stored.metadata(),
        };
        Ok(Self {
            path: path.to_owned(),
            files,
            schema: Schema::new(fields).into(),
            metadata: metadata.into_iter().collect(),
            run,
        })
    }

    /// Its name: that of the file or folder, without ending.
    pub fn name(&self) -> String {
        let name = self.path.file_stem().or_else(|| self.path.file_name());
        name.map_or_else(|| "result".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its file, if it is a single one.
    pub fn only_file(&self) -> Option<&Path> {
        match (&*self.files, &self.run) {
            ([only], None) => Some(only),
            _ => None,
        }
    }

    /// A value of the metadata.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The columns of one of its structs.
    pub fn fields(&self, name: &str) -> Fields {
        match self.schema.field_with_name(name).map(arrow_schema::Field::data_type) {
            Ok(DataType::Struct(fields)) => fields.clone(),
            _ => Fields::empty(),
        }
    }

    /// Whether its records have a column.
    pub fn has(&self, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let mut field = self.schema.field_with_name(first).ok();
        for name in rest {
            field = field.and_then(|field| match field.data_type() {
                DataType::Struct(fields) => fields.find(name).map(|(_, field)| &**field),
                _ => None,
            });
        }
        field.is_some()
    }

    /// Reads these of its columns (`target.ip`), as far as they are there.
    ///
    /// # Errors
    /// If a file cannot be read, and those of `each`.
    pub fn read(
        &self,
        columns: &[String],
        mut each: impl FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let columns: Vec<&str> =
            columns.into_iter().filter(|c| self.has(&c.split('.').collect::<Vec<_>>())).collect();
        self.files
            .iter()
            .try_for_each(|file| Stored::open(file)?.read(&columns, |batch| each(&batch)))
    }

    /// The number of records.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn rows(&self) -> Result<u64> {
        self.files.iter().try_fold(0, |sum, file| Ok(sum + Stored::open(file)?.rows()))
    }

    /// Its leaf columns with the number of values, and of NULLs where the file counts them.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn leaves(&self) -> Result<Vec<Leaf>> {
        let mut all: Vec<Leaf> = Vec::new();
        for file in &self.files {
            for leaf in Stored::open(file)?.leaves() {
                match all.iter_mut().find(|known| known.path == leaf.path) {
                    Some(known) => known.add(&leaf),
                    None => all.push(leaf),
                }
            }
        }
        Ok(all)
    }

    /// How SQL names its records, from the folder that it is in.
    pub fn sql(&self) -> String {
        text(&match &*self.files {
            [only] => self.below(only),
            [first, ..] => {
                let first = self.below(first);
                let folder = first.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/*.parquet")
            }
            [] => self.below(&self.path),
        })
    }

    /// SQL that gives the metadata: `key` and `value`.
    pub fn about_sql(&self) -> String {
        match &self.run {
            None => format!(
                "SELECT substr(decode(key), 12) AS key, decode(value) AS value FROM parquet_kv_metadata({}) \
                 WHERE starts_with(decode(key), 'pathspider.')",
                self.sql()
            ),
            Some(run) => format!(
                "SELECT substr(key, 12) AS key, json_extract_string(j, '/' || key) AS value FROM (SELECT \
                 unnest(json_keys(j)) AS key, j FROM (SELECT CAST(content AS JSON) AS j FROM read_text({})))",
                text(&self.below(run))
            ),
        }
    }

    /// A path of the result, from the folder that the result is in.
    fn below(&self, path: &Path) -> String {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned()
    }
}
