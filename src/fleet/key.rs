//! Keys and signatures: Ed25519 in the form of NATS (nkeys).

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use nkeys::{KeyPair, KeyPairType};

use crate::error::{Doing as _, Error, Result};
use crate::files::{self, Folder};

/// A key pair, or a public key alone.
#[derive(Clone)]
pub struct Key {
    pair: std::sync::Arc<KeyPair>,
}

/// What a key is for. The first letter of a public key is that of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Signs accounts (O).
    Operator,
    /// Signs users (A).
    Account,
    /// An agent, the coordinator, or whoever answers for a campaign (U).
    User,
}

impl std::fmt::Debug for Key {
    /// The public key only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.public())
    }
}

impl Key {
    /// A new random key.
    pub fn new(kind: Kind) -> Self {
        let kind = match kind {
            Kind::Operator => KeyPairType::Operator,
            Kind::Account => KeyPairType::Account,
            Kind::User => KeyPairType::User,
        };
        Self { pair: KeyPair::new(kind).into() }
    }

    /// Parses a seed.
    ///
    /// # Errors
    /// If it is not a seed; the text is not in the message.
    pub fn of_seed(seed: &str) -> Result<Self> {
        let pair = KeyPair::from_seed(seed.trim());
        let pair = pair.map_err(|why| Error::Usage(format!("read a key: {why}")))?;
        Ok(Self { pair: pair.into() })
    }

    /// Parses a public key of a user.
    ///
    /// # Errors
    /// If it is not one.
    pub fn of_user(public: &str) -> Result<Self> {
        let refuse = |why: String| Error::Usage(format!("{public:?} is not a public key: {why}"));
        if !public.starts_with('U') {
            return Err(refuse("it begins with U; `pathspider agent enroll` prints it".into()));
        }
        let pair = KeyPair::from_public_key(public).map_err(|why| refuse(why.to_string()))?;
        Ok(Self { pair: pair.into() })
    }

    /// Reads the seed in a file.
    ///
    /// # Errors
    /// If it cannot be read or is not a seed.
    pub fn read(path: &Path) -> Result<Self> {
        let doing = || format!("read the key {}", path.display());
        let mut text = String::new();
        files::regular(path).and_then(|mut file| file.read_to_string(&mut text)).doing(doing)?;
        Self::of_seed(&text).map_err(|_| Error::Usage(format!("{}: it is not a seed", doing())))
    }

    /// Writes the seed to a new file. The folder must be its owner's alone.
    ///
    /// # Errors
    /// If the name exists, or the file cannot be written.
    pub fn write(&self, folder: &Folder, name: &str) -> Result<()> {
        let seed = self.seed()?;
        let doing = || format!("write the key {}", folder.join(OsStr::new(name)).display());
        let mut file = folder.create_new(OsStr::new(name)).doing(doing)?;
        writeln!(file, "{seed}").and_then(|()| file.sync_all()).doing(doing)
    }

    /// The public key.
    pub fn public(&self) -> String {
        self.pair.public_key()
    }

    /// The seed, from which the whole key follows.
    ///
    /// # Errors
    /// If this is a public key only.
    pub fn seed(&self) -> Result<String> {
        self.pair.seed().map_err(|why| Error::failed("use a key", why))
    }

    /// Signs octets; the signature is in base64 for URLs, as in a JWT.
    ///
    /// # Errors
    /// If this is a public key only.
    pub fn sign(&self, octets: &[u8]) -> Result<String> {
        Ok(BASE64URL_NOPAD.encode(&self.sign_raw(octets)?))
    }

    /// The 64 octets of a signature.
    ///
    /// # Errors
    /// If this is a public key only.
    pub fn sign_raw(&self, octets: &[u8]) -> Result<Vec<u8>> {
        self.pair.sign(octets).map_err(|why| Error::failed("sign", why))
    }

    /// Whether the signature is this key's over these octets.
    pub fn has_signed(&self, octets: &[u8], signature: &str) -> bool {
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes());
        signature.is_ok_and(|signature| self.pair.verify(octets, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_signs() {
        let key = Key::new(Kind::User);
        let signature = key.sign(b"text").unwrap();
        let public = Key::of_user(&key.public()).unwrap();
        assert!(public.has_signed(b"text", &signature));
        assert!(!public.has_signed(b"texT", &signature));
        assert!(!public.has_signed(b"text", ""));
        assert!(!Key::new(Kind::User).has_signed(b"text", &signature));
        assert!(public.sign(b"text").is_err(), "a public key signs nothing");
        assert_eq!(Key::of_seed(&key.seed().unwrap()).unwrap().public(), key.public());
    }

    #[test]
    fn a_key_of_another_kind_is_not_a_users() {
        let account = Key::new(Kind::Account).public();
        assert!(Key::of_user(&account).is_err() && Key::of_user("U").is_err());
        assert!(!format!("{:?}", Key::new(Kind::User)).starts_with('S'), "no seed in a log");
    }
}
