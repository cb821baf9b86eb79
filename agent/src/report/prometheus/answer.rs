//! What a server said: the JSON of its HTTP API, read row by row, so that an answer of any size takes the memory of what is kept of it.
//!
//! The form is that of Prometheus' `web/api/v1`. `VictoriaMetrics` adds `isPartial`, Thanos tells a missing store among the `warnings`.

use std::{borrow::Cow, collections::BTreeMap, fmt, io, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// What an answer's rows become, one at a time.
pub(super) trait Fold: Default + Send + 'static {
    /// Takes a row in.
    fn row(&mut self, row: Row);
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) labels: Labels,
    /// Unix milliseconds and values, oldest first; one for an instant query.
    pub(super) samples: Vec<(i64, f64)>,
}

/// The labels of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub(super) struct Labels(pub(super) BTreeMap<String, String>);

/// What an answer says beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remarks {
    /// The server's own words: `warnings` and `infos`.
    pub(super) warnings: Vec<String>,
    /// Some store behind the server did not answer (`isPartial`).
    pub(super) partial: bool,
}

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    /// The server says so.
    #[error("{kind}: {message}")]
    Server {
        /// `errorType`, such as `bad_data` or `timeout`.
        kind: String,
        /// `error`.
        message: String,
    },
    /// The connection broke.
    #[error("{0}")]
    Cut(io::Error),
    /// It is not the JSON of Prometheus' API.
    #[error("{0}")]
    Form(serde_json::Error),
}

impl Fold for Vec<Row> {
    fn row(&mut self, row: Row) {
        self.push(row);
    }
}

impl Labels {
    /// The agent's own label: Prometheus renames it where the scrape configuration sets a target label of the same name
    /// (`honor_labels: false`), as the Prometheus operator does with `endpoint`.
    pub(super) fn own(&self, name: &str) -> &str {
        self.0.get(&format!("exported_{name}")).filter(|value| !value.is_empty()).map_or_else(|| self.target(name), String::as_str)
    }

    /// The label of exactly this name; empty where there is none, which is the same to Prometheus.
    pub(super) fn target(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl Row {
    /// The value of an instant query's row.
    pub(super) fn value(&self) -> f64 {
        self.samples.last().map_or(f64::NAN, |(_, value)| *value)
    }
}

/// Reads a whole answer.
pub(super) fn read<F: Fold>(body: impl io::Read) -> Result<(F, Remarks), AnswerError> {
    let wrong = |error: serde_json::Error| match error.classify() {
        serde_json::error::Category::Io => AnswerError::Cut(error.into()),
        serde_json::error::Category::Eof => AnswerError::Cut(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
        _ => AnswerError::Form(error),
    };
    let mut json = serde_json::Deserializer::from_reader(body);
    let envelope = json.deserialize_map(EnvelopeVisitor::<F>(PhantomData)).map_err(wrong)?;
    json.end().map_err(wrong)?;
    match (envelope.status.as_str(), envelope.data) {
        ("success", Some(rows)) => {
            let warnings = envelope.warnings.into_iter().chain(envelope.infos).collect();
            Ok((rows, Remarks { warnings, partial: envelope.partial }))
        }
        ("error", _) => Err(AnswerError::Server { kind: envelope.kind, message: envelope.message }),
        ("success", None) => Err(AnswerError::Form(serde_json::Error::custom("an answer without data"))),
        (status, _) => Err(AnswerError::Form(serde_json::Error::custom(format!("an answer with the status `{status}`")))),
    }
}

#[derive(Default)]
struct Envelope<F> {
    status: String,
    data: Option<F>,
    kind: String,
    message: String,
    warnings: Vec<String>,
    infos: Vec<String>,
    partial: bool,
}

struct EnvelopeVisitor<F>(PhantomData<F>);

impl<'de, F: Fold> Visitor<'de> for EnvelopeVisitor<F> {
    type Value = Envelope<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer of Prometheus' HTTP API")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Envelope<F>, M::Error> {
        let mut envelope = Envelope {
            status: String::new(),
            data: None,
            kind: String::new(),
            message: String::new(),
            warnings: Vec::new(),
            infos: Vec::new(),
            partial: false,
        };
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "status" => envelope.status = map.next_value()?,
                "errorType" => envelope.kind = map.next_value()?,
                "error" => envelope.message = map.next_value()?,
                "warnings" => envelope.warnings = map.next_value::<Option<_>>()?.unwrap_or_default(),
                "infos" => envelope.infos = map.next_value::<Option<_>>()?.unwrap_or_default(),
                "isPartial" => envelope.partial = map.next_value()?,
                "data" => envelope.data = map.next_value_seed(Data(PhantomData))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(envelope)
    }
}

/// `data`, which is null or absent in an error.
struct Data<F>(PhantomData<F>);

impl<'de, F: Fold> DeserializeSeed<'de> for Data<F> {
    type Value = Option<F>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<F>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, F: Fold> Visitor<'de> for Data<F> {
    type Value = Option<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`resultType` and `result`")
    }

    fn visit_unit<E>(self) -> Result<Option<F>, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Option<F>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<F>, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Option<F>, M::Error> {
        let mut rows = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "result" {
                rows = Some(map.next_value_seed(Rows(PhantomData))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(rows)
    }
}

struct Rows<F>(PhantomData<F>);

impl<'de, F: Fold> DeserializeSeed<'de> for Rows<F> {
    type Value = F;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<F, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: Fold> Visitor<'de> for Rows<F> {
    type Value = F;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector or a matrix")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<F, S::Error> {
        let mut rows = F::default();
        while let Some(Series { metric, value, values }) = sequence.next_element()? {
            let mut samples = Vec::with_capacity(values.len() + usize::from(value.is_some()));
            for Sample(time, text) in value.into_iter().chain(values) {
                let time = milliseconds(time).ok_or_else(|| S::Error::custom(format!("the time {time:e} is none")))?;
                samples.push((time, text.parse().map_err(|_| S::Error::custom(format!("the value `{text}` is no number")))?));
            }
            rows.row(Row { labels: metric, samples });
        }
        Ok(rows)
    }
}

#[derive(Deserialize)]
struct Series {
    metric: Labels,
    value: Option<Sample>,
    #[serde(default)]
    values: Vec<Sample>,
}

/// Unix seconds, and the value as Go writes it: `NaN` and `+Inf` too.
#[derive(Deserialize)]
struct Sample(f64, String);

/// Unix seconds as milliseconds; `None` before 1970 and after the year 9999, where no sample is.
#[expect(clippy::cast_possible_truncation, reason = "they are below 2^53")]
fn milliseconds(seconds: f64) -> Option<i64> {
    (0.0..253_402_300_800.0).contains(&seconds).then(|| (seconds * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<(Vec<Row>, Remarks), AnswerError> {
        read(text.as_bytes())
    }

    #[test]
    fn vectors_and_matrices_become_rows() {
        let (vector, remarks) = rows(
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"identity":"a\"b","exported_endpoint":"pods","endpoint":"http"},"value":[1763946000.25,"42"]},{"metric":{},"value":[1,"+Inf"]}]}}"#,
        )
        .unwrap();
        assert_eq!(remarks, Remarks::default());
        assert_eq!(vector[0].samples, [(1_763_946_000_250, 42.0)]);
        assert_eq!((vector[0].labels.own("identity"), vector[0].labels.own("endpoint")), ("a\"b", "pods"));
        assert!(vector[1].value().is_infinite());
        let (matrix, _) =
            rows(r#"{"data":{"result":[{"metric":{"a":"b"},"values":[[1,"1"],[2.5,"NaN"]]}],"resultType":"matrix"},"status":"success"}"#)
                .unwrap();
        assert_eq!(matrix[0].samples[0], (1000, 1.0));
        assert!(matrix[0].value().is_nan());
    }

    #[test]
    fn remarks_of_all_servers_are_read() {
        let (none, thanos) = rows(
            r#"{"status":"success","warnings":["no store matched"],"infos":["metric might not be a counter"],"data":{"resultType":"vector","result":[],"analysis":{}}}"#,
        )
        .unwrap();
        assert!(none.is_empty());
        assert_eq!(thanos.warnings, ["no store matched", "metric might not be a counter"]);
        let (_, victoria) =
            rows(r#"{"status":"success","isPartial":true,"data":{"resultType":"vector","result":[]},"stats":{"seriesFetched":"0"}}"#)
                .unwrap();
        assert!(victoria.partial);
    }

    #[test]
    fn what_is_no_answer_is_an_error_that_tells_why() {
        for (text, expected) in [
            (r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#, "bad_data: parse error"),
            (r#"{"status":"error","data":null,"errorType":"timeout","error":"too slow"}"#, "timeout: too slow"),
            (r#"{"status":"success"}"#, "an answer without data"),
            (r#"{"status":"success","data":{"resultType":"vector"}}"#, "an answer without data"),
            (r#"{"status":"fine","data":{"result":[]}}"#, "an answer with the status `fine`"),
            ("<html>", "expected value at line 1 column 1"),
            ("[]", "invalid type: sequence, expected an answer of Prometheus' HTTP API"),
            (r#"{"status":"success","data":{"result":[{"metric":{},"value":[1,"x"]}]}}"#, "the value `x` is no number"),
            (r#"{"status":"success","data":{"result":[{"metric":{},"value":[1e80,"1"]}]}}"#, "the time 1e80 is none"),
            (r#"{"status":"success","data":{"result":[{"metric":{},"value":[-1,"1"]}]}}"#, "the time -1e0 is none"),
            (r#"{"status":"success","data":{"result":["#, "EOF while parsing a list at line 1 column 38"),
        ] {
            let error = rows(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_answer_that_is_cut_anywhere_is_never_taken_for_a_whole_one(cut in 0_usize..118) {
            let whole = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"1"]}]},"warnings":["w"]}  "#;
            let cut = cut.min(whole.trim_end().len() - 1);
            assert!(matches!(rows(&whole[..cut]), Err(AnswerError::Cut(_))));
        }
    }
}
