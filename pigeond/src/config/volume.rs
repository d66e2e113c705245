//! Directories that hold mail.

use super::section::{Place, Section, converted, number, path_in, size};
use super::size::Size;
use pigeon_store_format::VolumeId;
use serde::Serialize;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// A directory that holds mail; one core of this node owns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// What `mailMessageStore` says in control data: a name of letters, digits, `-`, `_` and `.`, or a UUID. The marker in
    /// the directory must hold the same (a name stands for the UUID of version 5 made from it), so that a wrong or
    /// unmounted disk is never taken for the right one. Required.
    pub id: String,
    /// The directory. Required.
    pub path: PathBuf,
    /// The core that owns it, counted from 0. Not set: the volumes go around the cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core: Option<u16>,
    /// The size of a journal segment when the volume is made. From 8 MiB to 4 GiB; default 256 MiB, of which one is always
    /// preallocated ahead.
    pub segment_bytes: Size,
    /// The most that the volume's segments may take. Not set: what the file system has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<Size>,
    /// Free space of the file system below which no new mail is taken (452 4.3.1), so that reading, deleting and
    /// compaction go on. Default 1 GiB.
    pub reserve_bytes: Size,
}

/// The namespace of the UUIDs that names stand for; random. Never to be changed, because markers on disk depend on it.
const NAME_SPACE: Uuid = Uuid::from_bytes([
    0x5b, 0x0e, 0x7c, 0x52, 0x2d, 0x5e, 0x4b, 0x3c, 0x9a, 0x41, 0x8f, 0x60, 0x33, 0x0d, 0x17, 0xe9,
]);

/// The identity that a configured id stands for: itself where it is a UUID, else a UUID of version 5.
pub fn volume_id(id: &str) -> VolumeId {
    let uuid = Uuid::parse_str(id).unwrap_or_else(|_| Uuid::new_v5(&NAME_SPACE, id.as_bytes()));
    VolumeId(uuid.into_bytes())
}

/// A volume, where its id is written, and where its path is.
pub(super) type Placed = (Volume, (Place, Place));

impl Volume {
    /// See [`volume_id`].
    pub fn volume_id(&self) -> VolumeId {
        volume_id(&self.id)
    }

    pub(super) fn read(mut section: Section<'_, '_, '_>, directory: &Path) -> Option<Placed> {
        let id = section.required("id", "\"main\"", converted(check_id));
        let path = section.required("path", "\"volumes/main\"", path_in(directory));
        let core = section.optional("core", number(0..=1023));
        let segment_bytes = section.located("segment_bytes", size(Size::mib(8)..=Size::gib(4)));
        let bytes_max = section.located("bytes_max", size(Size::mib(32)..=Size::of_bytes(1 << 60)));
        let reserve_bytes = section.or(
            "reserve_bytes",
            Size::gib(1),
            size(Size::of_bytes(0)..=Size::of_bytes(1 << 60)),
        );
        if let Some((segment, place)) = &segment_bytes
            && !segment.bytes().is_multiple_of(4096)
        {
            section.mistake(place, "segment_bytes: expected a multiple of 4096");
        }
        let segment_bytes = segment_bytes.map_or(Size::mib(256), |(segment, _)| segment);
        if let Some((most, place)) = &bytes_max
            && most.bytes() / 4 < segment_bytes.bytes()
        {
            // One being written, one ahead, one being compacted, and one it is compacted into.
            section.mistake(
                place,
                format!("bytes_max: expected room for four segments of {segment_bytes}, found {most}"),
            );
        }
        section.finish();
        let ((id, id_place), (path, path_place)) = (id?, path?);
        let bytes_max = bytes_max.map(|(most, _)| most);
        Some((
            Volume {
                id,
                path,
                core,
                segment_bytes,
                bytes_max,
                reserve_bytes,
            },
            (id_place, path_place),
        ))
    }
}

fn check_id(text: &str) -> Result<String, String> {
    let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected a name of 1 to 64 letters, digits, \"-\", \"_\" and \".\", or a UUID, found \"{text}\""
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stands_for_the_same_volume_for_ever() {
        // These bytes are in markers on disks: a change here makes volumes unreadable.
        for (id, expected) in [
            (
                "67e55044-10b1-426f-9247-bb680e5fe0c8",
                "67e55044-10b1-426f-9247-bb680e5fe0c8",
            ),
            (
                "67E5504410B1426F9247BB680E5FE0C8",
                "67e55044-10b1-426f-9247-bb680e5fe0c8",
            ),
            ("main", "6d4d6fe9-330e-5557-b720-2cadca1d06ea"),
        ] {
            assert_eq!(Uuid::from_bytes(volume_id(id).0).to_string(), expected, "{id}");
        }
    }
}
