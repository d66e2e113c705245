//! A real slapd in a directory of its own, reached over its socket: no port, no root.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) const SUFFIX: &str = "dc=test";
pub(crate) const ADMIN: &str = "cn=admin,dc=test";
/// The node's own DN, which may read everything.
pub(crate) const ENGINE: &str = "cn=engine,dc=test";
pub(crate) const SECRET: &str = "secret";

/// How long slapd may take for what takes it milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server. Ended and removed when it is dropped.
pub(crate) struct Slapd {
    directory: PathBuf,
    child: Option<Child>,
    /// Besides its socket.
    listen: String,
}

impl Slapd {
    /// A provider with an empty tree below [`SUFFIX`] but for the suffix itself and the engine's entry.
    #[allow(dead_code, reason = "tests do")]
    pub(crate) fn start() -> Slapd {
        Slapd::with("", "")
    }

    /// With further lines of configuration for the whole and for the database, behind the overlay.
    pub(crate) fn with(whole: &str, database: &str) -> Slapd {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: a socket's path has 107 bytes.
        let directory = PathBuf::from(format!("/tmp/pigeon-slapd-{}-{number}", std::process::id()));
        std::fs::create_dir_all(directory.join("db")).expect("a directory under /tmp");
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datatree-cache/schema/pigeon.schema");
        let includes: String = ["core", "cosine", "nis", "inetorgperson", "misc"]
            .iter()
            .map(|name| format!("include /etc/ldap/schema/{name}.schema\n"))
            .collect();
        let configuration = format!(
            "{includes}include {}\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload back_monitor\n\
             moduleload syncprov\nserverID 1\n{whole}\ndatabase monitor\naccess to * by * read\n\
             database mdb\nsuffix \"{SUFFIX}\"\nrootdn \"{ADMIN}\"\nrootpw {SECRET}\ndirectory {}\nmaxsize 17179869184\n\
             index objectClass,entryCSN,entryUUID eq\nlimits dn.exact=\"{ENGINE}\" size=unlimited time=unlimited\n\
             access to attrs=userPassword,authPassword by dn.exact=\"{ENGINE}\" read by self =wx by anonymous auth by * none\n\
             access to * by dn.exact=\"{ENGINE}\" read by * none\n\
             overlay syncprov\nsyncprov-checkpoint 100 10\nsyncprov-sessionlog 1000\nsyncprov-reloadhint TRUE\n{database}\n",
            schema.display(),
            directory.join("db").display(),
        );
        std::fs::write(directory.join("slapd.conf"), configuration).expect("its own directory");
        let mut slapd = Slapd {
            directory,
            child: None,
            listen: String::new(),
        };
        slapd.resume();
        slapd.change(&format!(
            "dn: {SUFFIX}\nchangetype: add\nobjectClass: domain\ndc: test\n\n\
             dn: {ENGINE}\nchangetype: add\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: engine\n\
             userPassword: {SECRET}\n"
        ));
        slapd
    }

    pub(crate) fn uri(&self) -> String {
        let path = self.directory.join("ldapi");
        format!("ldapi://{}", path.display().to_string().replace('/', "%2F"))
    }

    /// Listens there as well from the next start on.
    #[allow(dead_code, reason = "tests do")]
    pub(crate) fn listen_at(&mut self, uri: &str) {
        self.listen = format!(" {uri}");
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts it (again).
    pub(crate) fn resume(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let child = Command::new(program("slapd"))
            .args(["-f".as_ref(), self.directory.join("slapd.conf").as_os_str()])
            .args(["-h", &format!("{}{}", self.uri(), self.listen), "-d", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("slapd cannot be run: {error}; ./test installs it (package slapd)"));
        self.child = Some(child);
        let until = Instant::now() + PATIENCE;
        let mut answers = false;
        while !answers && Instant::now() < until {
            answers = self.run("ldapwhoami", &[], "").is_ok();
            if !answers {
                // There is no event for "slapd answers".
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        assert!(answers, "slapd does not answer");
    }

    /// Loads entries into it while it is down.
    #[allow(dead_code, reason = "benches do")]
    pub(crate) fn load(&mut self, file: &Path) {
        self.stop();
        let status = Command::new(program("slapadd"))
            .args(["-q", "-w", "-f"])
            .arg(self.directory.join("slapd.conf"))
            .arg("-l")
            .arg(file)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "slapadd");
        self.resume();
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it orderly.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().expect("it was started here");
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id();
        let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {id}");
    }

    /// Applies change records.
    pub(crate) fn change(&self, records: &str) {
        // Relaxed, so that tests can give entryUUIDs.
        if let Err(said) = self.run("ldapmodify", &["-e", "relax"], records) {
            panic!("{said}\n{records}");
        }
    }

    /// A search's LDIF.
    pub(crate) fn search(&self, base: &str, scope: &str, attributes: &[&str]) -> String {
        let mut arguments = vec!["-LLL", "-o", "ldif-wrap=no", "-b", base, "-s", scope, "(objectClass=*)"];
        arguments.extend(attributes);
        self.run("ldapsearch", &arguments, "")
            .unwrap_or_else(|said| panic!("{said}"))
    }

    fn run(&self, name: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(program(name))
            .args(["-x", "-H", &self.uri(), "-D", ADMIN, "-w", SECRET])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be run: {error}; ./test installs it (package ldap-utils)"));
        let mut stdin = child.stdin.take().expect("it is piped");
        let input = input.to_owned();
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("it was started here");
        writer.join().expect("writing does not panic");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Whether the programs are there. CI allows no skips.
#[allow(dead_code, reason = "tests do")]
pub(crate) fn is_there() -> bool {
    let there = ["slapd", "ldapmodify"].iter().all(|name| program(name).is_absolute());
    assert!(
        there || std::env::var_os("CI").is_none(),
        "slapd or ldap-utils is missing; ./test installs them"
    );
    if !there {
        eprintln!("skipped: slapd or ldap-utils is missing; ./test installs them");
    }
    there
}

/// Debian has servers in sbin, which is not in everybody's PATH.
fn program(name: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| name.into())
}
