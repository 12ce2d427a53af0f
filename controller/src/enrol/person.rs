//! An operator's own folder: a key that is made there and never sent, and the certificate for it.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};

use super::certificate::{belongs, common_name, signed_by, validity_of};
use super::{EnrolFault, key_file, read_key, signing};

/// The key.
pub const KEY: &str = "operator.key";
/// The certificate.
pub const CERTIFICATE: &str = "operator.pem";
/// The certificate of the controller's authority.
pub const AUTHORITY: &str = "ca.pem";

/// A folder that is or becomes the `--identity` of a person.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`, made for its owner only where it is not there.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn prepare(path: &Path) -> Result<Self, EnrolFault> {
        key_file::make_private_folder(path)?;
        Ok(Self(path.to_owned()))
    }

    /// When the certificate in it ends, milliseconds since 1970 UTC; `None`: it has none.
    ///
    /// # Errors
    /// Where it is there and cannot be read.
    pub fn until_ms(&self) -> Result<Option<i64>, EnrolFault> {
        let path = self.0.join(CERTIFICATE);
        if !key_file::exists(&path)? {
            return Ok(None);
        }
        let pem = key_file::read(&path)?;
        match validity_of(&pem) {
            Ok((_, until_ms)) => Ok(Some(until_ms)),
            Err(why) => Err(EnrolFault::Unreadable { path, why }),
        }
    }

    /// A request for a certificate over the folder's key, which is made where there is none. Its name is
    /// for people: the controller takes the public key and nothing else.
    ///
    /// # Errors
    /// Where the key cannot be made, read or kept from others.
    pub fn request(&self, name: &str) -> Result<String, EnrolFault> {
        let path = self.0.join(KEY);
        if !key_file::exists(&path)? {
            let fresh = KeyPair::generate().map_err(signing)?;
            key_file::write_new(&path, &fresh.serialize_pem())?;
        }
        let key = read_key(&path)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params
            .serialize_request(&key)
            .and_then(|request| request.pem())
            .map_err(signing)
    }

    /// Stores a certificate that fits the key, and the authority that signed it; answers when it ends.
    /// Durable on return; a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// Where it does not fit, or cannot be written.
    pub fn store(&self, certificate_pem: &str, ca_pem: &str) -> Result<i64, EnrolFault> {
        let path = self.0.join(CERTIFICATE);
        let broken = |why: String| EnrolFault::Unreadable {
            path: path.clone(),
            why: format!("what the controller sent is refused: {why}"),
        };
        let key = read_key(&self.0.join(KEY))?;
        if !belongs(certificate_pem, &key).map_err(broken)? {
            return Err(broken("it is for another key".to_owned()));
        }
        if !signed_by(certificate_pem, ca_pem) {
            return Err(broken("another authority signed it".to_owned()));
        }
        let (_, until_ms) = validity_of(certificate_pem).map_err(broken)?;
        key_file::replace(&self.0.join(AUTHORITY), ca_pem)?;
        key_file::replace(&path, certificate_pem)?;
        Ok(until_ms)
    }
}
