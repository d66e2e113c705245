//! SEARCH: the first line is the keys, the rest the message. The answer is the same however the message is cut, and whether
//! or not its header is looked at first.

use pigeon_proto::imap::{Command, CommandReader, Event, ReaderLimits};
use pigeon_proto::message::{MessageFacts, Outcome, SearchPlan, Structure};

use crate::steer::{self, Steer};

struct Facts {
    size: u64,
}

impl MessageFacts for Facts {
    fn sequence(&self) -> u32 {
        2
    }
    fn uid(&self) -> u32 {
        20
    }
    fn has_flag(&self, bit: u8) -> bool {
        bit & 1 == 0
    }
    fn is_recent(&self) -> bool {
        true
    }
    fn has_keyword(&self, keyword: &str) -> bool {
        keyword.len().is_multiple_of(2)
    }
    fn internal_date(&self) -> i64 {
        1_793_527_872
    }
    fn size(&self) -> u64 {
        self.size
    }
    fn mod_seq(&self) -> u64 {
        3
    }
}

pub(crate) fn run(input: &[u8]) {
    let (data, mut steer) = steer::split(input);
    let Some(line_end) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (line, message) = (data[..line_end].trim_ascii_end(), &data[line_end + 1..]);
    let command = [b"a SEARCH ", line, b"\r\n"].concat();
    let Event::Command(_, Command::Search { search, .. }) =
        CommandReader::new(&ReaderLimits::AFTER_LOGIN).read(&mut command.as_slice())
    else {
        return;
    };
    let Ok(keys) = search.keys else { return };
    let plan = SearchPlan::new(&keys, 3, 30);
    let facts = Facts {
        size: message.len() as u64,
    };
    let structure = Structure::of(message);

    let mut body = plan.read_header();
    body.push(message);
    let mut body = body.finish().read_body(&structure);
    body.push(0, message);
    let expected = body.finish(&facts);

    assert_eq!(
        step_by_step(&plan, &facts, &structure, message, &Steer::whole(message)),
        expected
    );
    assert_eq!(
        step_by_step(&plan, &facts, &structure, message, &steer.pieces(message)),
        expected
    );
}

fn step_by_step(plan: &SearchPlan, facts: &Facts, structure: &Structure, message: &[u8], pieces: &[&[u8]]) -> bool {
    let mut body = match plan.by_facts(facts) {
        Outcome::Known(value) => return value,
        Outcome::NeedsBody => plan.read_body(structure),
        Outcome::NeedsHeader => {
            let mut header = plan.read_header();
            pieces.iter().any(|piece| header.push(piece));
            let header = header.finish();
            match header.outcome(facts) {
                Outcome::Known(value) => return value,
                _ => header.read_body(structure),
            }
        }
    };
    let sizes = pieces.iter().map(|piece| piece.len().max(1)).collect::<Vec<_>>();
    let mut sizes = sizes.iter().cycle();
    while let Some(wanted) = body.wanted() {
        let size = *sizes.next().expect("a message that is wanted has bytes") as u64;
        let end = wanted.end.min(wanted.start + size);
        body.push(wanted.start, &message[wanted.start as usize..end as usize]);
    }
    body.finish(facts)
}
