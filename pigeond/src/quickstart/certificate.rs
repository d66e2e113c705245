//! The self-signed certificate of a quickstart.

use super::{CERTIFICATE_FILE, KEY_FILE, Secrecy, write_new};
use rcgen::{CertificateParams, DnType, KeyPair};
use std::path::Path;

/// Makes the certificate and its key in `directory` unless they are there: for localhost, the loopback addresses and the
/// name of this machine.
pub(super) fn make(directory: &Path) -> Result<(), String> {
    let (certificate_file, key_file) = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
    match (certificate_file.exists(), key_file.exists()) {
        (true, true) => return Ok(()),
        (false, false) => {}
        // The key is written first, so this is a start that was cut off; a key that signed nothing is worth nothing.
        (false, true) => std::fs::remove_file(&key_file)
            .map_err(|error| format!("{}: cannot be removed: {error}", key_file.display()))?,
        (true, false) => {
            let certificate = certificate_file.display();
            return Err(format!(
                "{certificate} is there without {KEY_FILE}: put the key there, or remove the certificate"
            ));
        }
    }
    let (certificate, key) =
        self_signed(&names()).map_err(|error| format!("{}: cannot be made: {error}", certificate_file.display()))?;
    write_new(&key_file, key.as_bytes(), Secrecy::OwnerOnly)
        .and_then(|()| write_new(&certificate_file, certificate.as_bytes(), Secrecy::Readable))
        .map_err(|error| format!("{}: cannot be made: {error}", certificate_file.display()))
}

/// Whom the certificate is for.
fn names() -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let machine = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .to_ascii_lowercase();
    let is_host_name = machine.split('.').all(|label| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    if is_host_name && machine.len() <= 253 && !names.contains(&machine) {
        names.push(machine);
    }
    names
}

/// The certificate and its key, both PEM.
fn self_signed(names: &[String]) -> Result<(String, String), rcgen::Error> {
    let mut parameters = CertificateParams::new(names)?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, "PigeonAir quickstart");
    // Fixed dates: a machine whose clock is off should still be able to try things out.
    parameters.not_before = rcgen::date_time_ymd(2024, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2049, 12, 31);
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_for_this_machine() {
        let names = names();
        assert_eq!(names[..3], ["localhost", "127.0.0.1", "::1"]);
        let (certificate, key) = self_signed(&names).expect("the names are host names and addresses");
        let identity = pigeon_engine::tls::PemIdentity {
            certificate_chain: certificate.into_bytes(),
            private_key: key.into_bytes(),
        };
        let acceptor = pigeon_engine::tls::TlsAcceptor::new(&[identity]).expect("the engine takes it");
        assert_eq!(acceptor.names()[0], "localhost");
    }
}
