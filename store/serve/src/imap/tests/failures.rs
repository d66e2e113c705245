//! What a client sees when the disk fails, is full, or has lost something; and what must go on.

use super::{Client, OpenScene, Scene};

impl OpenScene {
    /// Sends as one piece and gives what comes back.
    fn ask(&mut self, client: &mut Client, input: &str) -> String {
        client.peer.send(input.as_bytes());
        self.run();
        client.take_text()
    }

    /// Makes the disk's block with this text unreadable.
    fn damage(&self, text: &str) {
        let image = self.disk.image();
        let place = image.iter().find_map(|(name, bytes)| {
            let at = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
            Some((name.clone(), at as u64))
        });
        let (name, offset) = place.expect("the text is on the disk");
        self.disk.make_unreadable(&name, offset);
    }
}

/// About 40 KB, more than the body cache keeps of it.
fn large(word: &str) -> String {
    format!(
        "Subject: {word}\r\n\r\n{}{word}-end\r\n",
        "filling up a line of text\r\n".repeat(1500)
    )
}

#[test]
fn a_message_that_cannot_be_read_is_refused_and_the_others_come() {
    let mut scene = Scene::new()
        .message(&large("first"))
        .message(&large("second"))
        .message(&large("third"))
        .open();
    scene.damage("second-end");
    let mut client = scene.login();
    scene.ask(&mut client, "s SELECT INBOX\r\n");
    let answer = scene.ask(&mut client, "a FETCH 1:3 (UID BODY.PEEK[TEXT]<40000.600>)\r\n");
    assert!(
        answer.contains("* 1 FETCH (UID 1 ") && answer.contains("first-end"),
        "{answer}"
    );
    assert!(
        answer.contains("* 3 FETCH (UID 3 ") && answer.contains("third-end"),
        "{answer}"
    );
    assert!(!answer.contains("* 2 FETCH"), "{answer}");
    assert!(
        answer.ends_with("a NO [CORRUPTION] The mail is damaged on the server\r\n")
            || answer.ends_with("try again later\r\n"),
        "{answer}"
    );
    let answer = scene.ask(&mut client, "b SEARCH BODY -end\r\n");
    assert_eq!(answer, "* SEARCH 1 3\r\nb OK SEARCH completed\r\n");
    let answer = scene.ask(&mut client, "c FETCH 2 FLAGS\r\n");
    assert_eq!(answer, "* 2 FETCH (FLAGS (\\Recent))\r\nc OK FETCH completed\r\n");
}

#[test]
fn damage_within_a_literal_ends_the_connection() {
    let line = "0123456789 and so on to the end of the line\r\n";
    let body = format!("{}in-the-middle\r\n{}", line.repeat(12_000), line.repeat(8_000));
    let mut scene = Scene::new().message(&format!("Subject: x\r\n\r\n{body}")).open();
    scene.damage("in-the-middle");
    let mut client = scene.login();
    scene.ask(&mut client, "s SELECT INBOX\r\n");
    let answer = scene.ask(&mut client, "a FETCH 1 BODY.PEEK[]\r\n");
    assert!(answer.starts_with("* 1 FETCH (BODY[] {"));
    assert!(
        !answer.contains("a OK") && !answer.contains("BYE"),
        "nothing is said within a literal"
    );
    assert!(client.peer.is_closed());
}

#[test]
fn reading_goes_on_when_nothing_can_be_written() {
    let mut scene = Scene::new().messages(2).open();
    let mut client = scene.login();
    scene.ask(&mut client, "s SELECT INBOX\r\n");
    scene.disk.fail_write_in(0);
    let refused = "[UNAVAILABLE] The server has a problem with its disk, try again later\r\n";
    assert_eq!(
        scene.ask(&mut client, "a STORE 1 +FLAGS (\\Seen)\r\n"),
        format!("a NO {refused}")
    );
    assert_eq!(scene.ask(&mut client, "b CREATE x\r\n"), format!("b NO {refused}"));
    let answer = scene.ask(&mut client, "c APPEND INBOX {3+}\r\nxyz\r\nd NOOP\r\n");
    assert_eq!(answer, format!("c NO {refused}d OK NOOP completed\r\n"));
    assert_eq!(
        scene.ask(&mut client, "e FETCH 1 BODY[TEXT]\r\n"),
        "* 1 FETCH (BODY[TEXT] {3}\r\n1\r\n)\r\ne OK FETCH completed\r\n"
    );
    assert_eq!(scene.ask(&mut client, "f EXPUNGE\r\n"), "f OK EXPUNGE completed\r\n");
    assert_eq!(scene.ask(&mut client, "g MOVE 1 INBOX\r\n"), format!("g NO {refused}"));
}

#[test]
fn a_full_disk_refuses_mail_and_nothing_else() {
    let mut scene = Scene::new().messages(2).open();
    let mut client = scene.login();
    scene.ask(&mut client, "s SELECT INBOX\r\n");
    scene.disk.set_capacity(0);
    // What is prepared is used up first.
    let message = large("filler");
    let append = format!("a APPEND INBOX {{{}+}}\r\n{message}\r\n", message.len());
    let mut answer = String::new();
    for _ in 0..100 {
        answer = scene.ask(&mut client, &append);
        if answer.starts_with("a NO") {
            break;
        }
    }
    assert_eq!(
        answer,
        "a NO [UNAVAILABLE] The server's disk is nearly full, try again later\r\n"
    );
    assert!(
        scene
            .ask(&mut client, "c STORE 1 +FLAGS.SILENT (\\Deleted)\r\n")
            .ends_with("c OK STORE completed\r\n")
    );
    assert_eq!(
        scene.ask(&mut client, "d EXPUNGE\r\n"),
        "* 1 EXPUNGE\r\nd OK EXPUNGE completed\r\n"
    );
    assert!(
        scene
            .ask(&mut client, "e FETCH 1 BODY.PEEK[]\r\n")
            .ends_with("e OK FETCH completed\r\n")
    );
}
