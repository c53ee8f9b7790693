//! The answers to questions of packages: gathered before a build begins, from the recipe, the files
//! that it names, and flags.

use fam_rootfs::configure::Answers;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Error;
use crate::plugins::{Unreadable, read_recipe_file};
use crate::recipe::{Answer, Listed, Preseed, Settings};

/// All answers of a run, in the order in which debconf takes them.
pub(super) fn answers(settings: &Settings) -> Result<Answers, Error> {
    let mut answers = Vec::new();
    for Listed { what, source } in &settings.recipe.debconf {
        match what {
            Preseed::Answer(answer) => answers.push(answer.clone()),
            Preseed::File(path) => {
                let bytes = read_recipe_file(path, source.directory.as_deref())
                    .map_err(|Unreadable(reason, hint)| unusable(path, reason, hint))?;
                answers.extend(parse(path, bytes)?);
            }
        }
    }
    for path in &settings.answer_files.value {
        let bytes = fs_err::read(path).map_err(|source| Error::Named { flag: "--debconf", source })?;
        answers.extend(parse(&path.display().to_string(), bytes)?);
    }
    Ok(Answers::new(answers.iter().map(Answer::reveal)))
}

fn parse(path: &str, bytes: Vec<u8>) -> Result<Vec<Answer>, Error> {
    let text = String::from_utf8(bytes).map_err(|_| unusable(path, "it is not UTF-8".into(), None))?;
    Answer::parse_file(&text).map_err(|error| unusable(&format!("{path}:{}", error.line), error.to_string(), None))
}

fn unusable(place: &str, reason: String, hint: Option<&'static str>) -> Error {
    let hint = hint.unwrap_or("debconf-set-selections(1) explains the form of answers");
    Error::Answers { place: place.to_owned(), reason, hint }
}

/// For the field of a job, `#[serde(with = "to_worker")]`: the only way in which answers leave the
/// process.
pub(super) mod to_worker {
    use super::{Answers, Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::pipeline) fn serialize<S: Serializer>(answers: &Answers, serializer: S) -> Result<S::Ok, S::Error> {
        answers.reveal().serialize(serializer)
    }

    pub(in crate::pipeline) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Answers, D::Error> {
        let lines = String::deserialize(deserializer)?;
        Ok(Answers::new(lines.lines().map(ToOwned::to_owned)))
    }
}
