use rcgen::{BasicConstraints, IsCa, Issuer, SanType};

use super::*;

/// An authority and the certificates that it makes.
struct Made {
    folder: tempfile::TempDir,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// 2027-01-02, in the middle of each certificate's life.
const NOW: i64 = 1_798_848_000_000;
const DAY: i64 = 24 * 3_600_000;

impl Made {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&key).unwrap().pem();
        Self {
            folder: tempfile::tempdir().unwrap(),
            ca_pem,
            issuer: Issuer::new(params, key),
        }
    }
    fn path(&self) -> &Path {
        self.folder.path()
    }
    fn certificate(&self, uris: &[&str], key: &impl PublicKeyData) -> String {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        for uri in uris {
            let uri = SanType::URI((*uri).try_into().unwrap());
            params.subject_alt_names.push(uri);
        }
        params.not_before = rcgen::date_time_ymd(2027, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 3);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }
    fn load(&self, now_ms: i64) -> Result<Identity, IdentityError> {
        Identity::load(self.path(), &name(), now_ms)
    }
    fn enrolled() -> Self {
        let made = Self::new();
        let key = own_key(made.path()).unwrap();
        let certificate = made.certificate(&["mailmend:agent:SRVB"], &key);
        store(made.path(), &name(), &certificate, &made.ca_pem).unwrap();
        made
    }
}

fn name() -> ServerName {
    "SRVB".parse().unwrap()
}

fn code(error: &IdentityError) -> String {
    error.to_string().chars().take(4).collect()
}

#[test]
fn an_identity_that_was_stored_is_read_back_and_renewed_at_half_its_life() {
    let made = Made::enrolled();
    let identity = made.load(NOW).unwrap();
    assert_eq!(identity.name, name());
    assert_eq!(identity.validity.half_ms(), NOW);
    assert!(!format!("{identity:?}").contains("PRIVATE"));
}

#[test]
fn a_renewal_brings_a_certificate_that_holds_and_never_another_authority() {
    let made = Made::enrolled();
    let before = std::fs::read_to_string(made.path().join(CERTIFICATE)).unwrap();
    let key = own_key(made.path()).unwrap();
    let right = made.certificate(&["mailmend:agent:SRVB"], &key);
    let renew = |certificate: &str, ca: &str, now| {
        renewed(made.path(), &name(), (certificate, ca), now).map_err(|error| error.to_string())
    };
    let stranger = Made::new();
    let foreign = stranger.certificate(&["mailmend:agent:SRVB"], &key);
    let both = format!("{}{}", made.ca_pem, stranger.ca_pem);
    let long = format!("{right}{}", "\n".repeat(LARGEST));
    for (certificate, ca, now, why) in [
        (&right, &made.ca_pem, NOW + 3 * DAY, "clock reads"),
        (&right, &made.ca_pem, NOW - 3 * DAY, "clock reads"),
        (&foreign, &stranger.ca_pem, NOW, "another authority"),
        (&foreign, &made.ca_pem, NOW, "did not sign"),
        (&right, &both, NOW, "another authority"),
        (&right, &String::new(), NOW, "another authority"),
        (&long, &made.ca_pem, NOW, "bytes"),
        (
            &made.certificate(&["mailmend:agent:SRVA"], &key),
            &made.ca_pem,
            NOW,
            "SRVA",
        ),
    ] {
        let error = renew(certificate, ca, now).unwrap_err();
        assert!(error.starts_with("A022") && error.contains(why), "{error}");
        let kept = |file| std::fs::read_to_string(made.path().join(file)).unwrap();
        assert_eq!(
            (kept(CERTIFICATE), kept(AUTHORITY)),
            (before.clone(), made.ca_pem.clone())
        );
    }
    renew(&right, &made.ca_pem, NOW).unwrap();
    assert_eq!(
        std::fs::read_to_string(made.path().join(CERTIFICATE)).unwrap(),
        right
    );
}

#[test]
fn the_key_is_made_once_private_and_never_replaced() {
    let made = Made::new();
    let first = own_key(made.path()).unwrap().serialize_pem();
    assert_eq!(own_key(made.path()).unwrap().serialize_pem(), first);
    let file = made.path().join(KEY);
    assert!(files::write(&file, "other", Replaced::Never).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        mode(0o640);
        assert_eq!(code(&own_key(made.path()).unwrap_err()), "A021");
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "noise").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    }
    #[cfg(windows)]
    crate::host::security::keep_private(&file, false).unwrap();
    // A broken key is told, not replaced by a new one.
    assert_eq!(code(&own_key(made.path()).unwrap_err()), "A022");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "noise");
}

#[test]
fn nothing_enrolled_says_how_to_enrol() {
    let made = Made::new();
    let error = made.load(NOW).unwrap_err().to_string();
    assert!(
        error.starts_with("A020-not-enrolled") && error.contains("enrol --token"),
        "{error}"
    );
}

#[test]
fn a_clock_in_1980_is_named_with_what_it_reads() {
    let made = Made::enrolled();
    let error = made.load(315_532_800_000).unwrap_err().to_string();
    assert!(
        error.starts_with("A024-clock") && error.contains("1980-01-01T00:00:00Z"),
        "{error}"
    );
    assert_eq!(code(&made.load(NOW + DAY).unwrap_err()), "A023");
}

#[test]
fn certificates_that_do_not_fit_are_refused_and_the_old_one_stays() {
    let made = Made::enrolled();
    let key = own_key(made.path()).unwrap();
    let before = std::fs::read_to_string(made.path().join(CERTIFICATE)).unwrap();
    let other = KeyPair::generate().unwrap();
    let good = "mailmend:agent:SRVB";
    for (what, certificate) in [
        (
            "another name",
            made.certificate(&["mailmend:agent:SRVA"], &key),
        ),
        (
            "an operator",
            made.certificate(&["mailmend:operator:SRVB"], &key),
        ),
        (
            "two names",
            made.certificate(&[good, "mailmend:operator:x"], &key),
        ),
        ("no name", made.certificate(&[], &key)),
        ("another key", made.certificate(&[good], &other)),
        ("noise", "noise".to_owned()),
        ("a cut one", before[..before.len() / 2].to_owned()),
        (
            "a flipped one",
            before.replacen(&before[100..104], "////", 1),
        ),
        ("nothing", String::new()),
    ] {
        let error = store(made.path(), &name(), &certificate, &made.ca_pem).unwrap_err();
        assert_eq!(code(&error), "A022", "{what}: {error}");
        // The same on disk, put there by somebody else.
        let file = made.path().join(CERTIFICATE);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "{what}");
        std::fs::write(&file, certificate).unwrap();
        assert_eq!(code(&made.load(NOW).unwrap_err()), "A022", "{what}");
        std::fs::write(&file, &before).unwrap();
    }
    let good = made.certificate(&[good], &key);
    let foreign = Made::new().ca_pem;
    for ca_pem in ["noise", "", &foreign] {
        assert!(store(made.path(), &name(), &good, ca_pem).is_err());
    }
}

#[test]
fn a_file_that_went_missing_is_named() {
    for file in [KEY, AUTHORITY] {
        let made = Made::enrolled();
        std::fs::remove_file(made.path().join(file)).unwrap();
        let error = made.load(NOW).unwrap_err().to_string();
        assert!(error.starts_with("A022") && error.contains(file), "{error}");
    }
}
