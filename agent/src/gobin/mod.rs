//! A Go executable as data: its functions by name, its types by name, its itabs, its build information. Pure: bytes in, values out.
//!
//! Reads what Go itself needs at run time and what therefore survives `-s -w`: `.gopclntab`, moduledata, type descriptors. The input is
//! hostile by assumption: every offset is checked, every loop is bounded by the size of the file, nothing is allocated by a number that
//! the file states, and what all questions cost together is bounded. Only what a question needs is read, so that a kubelet costs little.

mod buildinfo;
mod fuzz;
mod image;
mod itabs;
mod maps;
mod module;
mod pclntab;
mod relocations;
mod source;
mod typelinks;
mod types;

pub use buildinfo::BuildInfo;
pub(crate) use buildinfo::hex;
pub use fuzz::fuzz_entry;
pub use image::Architecture;
pub use itabs::{Itab, METHODS};
pub use maps::MapShape;
pub use pclntab::Function;
pub use source::{Pages, Refusal, Source};
pub use typelinks::Named;
pub use types::{Field, Kind, Type};

use std::ops::Range;

use image::Image;
use module::Module;
use pclntab::Functions;

/// A Go executable.
pub struct Executable<'a> {
    image: Image<'a>,
    functions: Functions<'a>,
    module: Module,
}

/// The functions and the module, if the table of functions is at a place.
fn tables<'a>(image: &Image<'a>, place: image::Section<'a>) -> Result<(Functions<'a>, Module), Error> {
    let header = pclntab::Header::read(image, place)?;
    let module = Module::find(image, &header)?;
    Ok((Functions::new(image, &header, module.text)?, module))
}

impl<'a> Executable<'a> {
    /// Finds Go's tables in an ELF file. Cheap: reads headers only.
    pub fn parse(source: impl Into<Source<'a>>) -> Result<Self, Error> {
        let image = Image::parse(source.into())?;
        let mut result = Err(Error::NotGo);
        for place in pclntab::candidates(&image)? {
            result = tables(&image, place);
            if result.is_ok() {
                break;
            }
        }
        let (functions, module) = result?;
        Ok(Self { image, functions, module })
    }

    /// What it was compiled for.
    pub fn architecture(&self) -> Architecture {
        self.image.architecture()
    }

    /// The functions whose names are wanted, in the order of their names in the file. Reads every name once.
    pub fn functions(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Function<'a>>, Error> {
        self.functions.named(&self.image, wanted)
    }

    /// The defined types `(import path, name with its package's name)`, such as `("net/http", "http.Request")`, in the order asked for.
    /// `None` for a type that has no descriptor with a pointer to it: nothing in the program can reflect on it.
    pub fn types<const N: usize>(&self, wanted: [(&str, &str); N]) -> Result<[Option<Named<'_>>; N], Error> {
        typelinks::find(&self.image, &self.module, wanted)
    }

    /// All static itabs of the given concrete types.
    pub fn itabs(&self, concrete: &[Type<'_>]) -> Result<Vec<Itab<'_>>, Error> {
        itabs::find(&self.image, &self.module, concrete)
    }

    /// What the compiler recorded about the build.
    pub fn build_info(&self) -> Result<BuildInfo<'a>, Error> {
        buildinfo::read(&self.image)
    }

    /// The Go build id, or the GNU one in hex where there is no other.
    pub fn build_id(&self) -> Option<String> {
        buildinfo::build_id(&self.image)
    }

    /// Where the constants of its code are, such as the bytes of string literals: nothing can write there.
    pub fn constants(&self) -> Option<Range<u64>> {
        self.image.constants()
    }

    /// The string that a Go string header at `address` describes, as the linker initialised it.
    pub fn string(&self, address: u64) -> Result<&'a str, Error> {
        let data = self.image.pointer(address)?;
        let len = self.image.word(address.wrapping_add(8))?;
        let bytes = self.image.bytes(data, len.min(MAX_TEXT + 1))?;
        if len > MAX_TEXT {
            return Err(Error::malformed("a string that is too long", address));
        }
        std::str::from_utf8(bytes).map_err(|_| Error::malformed("a string that is not UTF-8", address))
    }
}

/// The longest name or string that is believed.
const MAX_TEXT: u64 = 4096;

/// Why a file cannot be read as a Go executable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Some other kind of file.
    #[error("not a 64-bit little-endian ELF executable")]
    NotElf,
    /// An executable of another language.
    #[error("not a Go executable: it has no .gopclntab section")]
    NotGo,
    /// A Go executable, or perhaps one, in a form that is not understood.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Its tables contradict themselves.
    #[error("broken executable: {what} at address {address:#x}; compare the file with the one that was released")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where, as a virtual address or, for ELF's own headers, a file offset.
        address: u64,
    },
}

impl Error {
    fn malformed(what: &'static str, address: u64) -> Self {
        Self::Malformed { what, address }
    }
}

impl Refusal {
    /// The error of a question about an address.
    fn at(self, address: u64) -> Error {
        match self {
            Self::Outside => Error::malformed("a reference to outside of the file", address),
            Self::TooMuch => Error::Unsupported(
                "reading the executable takes more time or memory than any kubelet does, so it is given up; compare the file with the one that was released",
            ),
            Self::Unreadable => Error::Unsupported(
                "the executable cannot be read, or became shorter while it was read; it is tried again at the next start of it",
            ),
        }
    }
}
