//! Type descriptors, which Go keeps for reflection (`internal/abi/type.go`).

use super::{Error, MAX_TEXT, image::Image, module::Module};

/// A type of the executable.
#[derive(Clone, Copy)]
pub struct Type<'e> {
    image: &'e Image<'e>,
    module: &'e Module,
    address: u64,
}

/// A field of a struct.
#[derive(Clone, Copy)]
pub struct Field<'e> {
    /// Its name.
    pub name: &'e str,
    /// Bytes from the beginning of the struct.
    pub offset: u64,
    /// Its type.
    pub of: Type<'e>,
}

/// The kinds of types that a caller tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Go's")]
pub enum Kind {
    Array,
    Chan,
    Func,
    Interface,
    Map,
    Pointer,
    Slice,
    String,
    Struct,
    /// Booleans, numbers and `unsafe.Pointer`.
    Basic,
}

/// Offsets in `abi.Type`, and its size.
const SIZE: u64 = 0;
const TFLAG: u64 = 20;
const KIND: u64 = 23;
const STR: u64 = 40;
const BASE: u64 = 48;
/// `abi.TFlag`
const HAS_UNCOMMON: u8 = 1;
const EXTRA_STAR: u8 = 2;
const NAMED: u8 = 4;
/// `abi.KindMask` of Go 1.25 and before; the bits above were flags.
const KIND_MASK: u8 = 31;
/// More than the largest generated struct.
const MAX_MEMBERS: u64 = 1 << 16;

impl<'e> Type<'e> {
    pub(super) fn at(image: &'e Image<'e>, module: &'e Module, address: u64) -> Result<Self, Error> {
        if address < module.types || address >= module.end_of_types {
            return Err(Error::malformed("a type that is not among the types", address));
        }
        Ok(Self { image, module, address })
    }

    /// Where its descriptor is: the word that an interface holds for it.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes that a value takes.
    pub fn size(&self) -> Result<u64, Error> {
        self.word(SIZE)
    }

    /// What kind of type it is.
    pub fn kind(&self) -> Result<Kind, Error> {
        match self.byte(KIND)? & KIND_MASK {
            1..=16 | 26 => Ok(Kind::Basic),
            17 => Ok(Kind::Array),
            18 => Ok(Kind::Chan),
            19 => Ok(Kind::Func),
            20 => Ok(Kind::Interface),
            21 => Ok(Kind::Map),
            22 => Ok(Kind::Pointer),
            23 => Ok(Kind::Slice),
            24 => Ok(Kind::String),
            25 => Ok(Kind::Struct),
            _ => Err(Error::malformed("a type of unknown kind", self.address)),
        }
    }

    /// As reflection prints it: `*http.Request`, with the last element of the package's path.
    pub fn name(&self) -> Result<&'e str, Error> {
        let text = self.name_at(self.offset_at(STR)?)?;
        Ok(if self.byte(TFLAG)? & EXTRA_STAR == 0 { text } else { text.strip_prefix('*').unwrap_or(text) })
    }

    /// The import path of the package that defines it; `None` for types without a name.
    pub fn package(&self) -> Result<Option<&'e str>, Error> {
        let flags = self.byte(TFLAG)?;
        if flags & NAMED == 0 || flags & HAS_UNCOMMON == 0 {
            return Ok(None);
        }
        let uncommon = self.place(self.uncommon_offset()?);
        self.name_at(self.module.types.wrapping_add(u64::from(self.image.int(uncommon)?))).map(Some)
    }

    /// Whether it is the defined type of that import path and name.
    pub fn is(&self, package: &str, name: &str) -> Result<bool, Error> {
        Ok(self.name()? == name && self.package()? == Some(package))
    }

    /// What a pointer points to, or what a slice or an array consists of.
    pub fn element(&self) -> Result<Self, Error> {
        match self.kind()? {
            Kind::Pointer | Kind::Slice | Kind::Array => self.type_at(BASE),
            _ => Err(Error::malformed("a type that has no element", self.address)),
        }
    }

    /// A field of a struct; `None` if it has no field of that name.
    pub fn field(&self, name: &str) -> Result<Option<Field<'e>>, Error> {
        for field in self.fields()? {
            let field = field?;
            if field.name == name {
                return Ok(Some(field));
            }
        }
        Ok(None)
    }

    /// The fields of a struct.
    pub fn fields(&self) -> Result<impl Iterator<Item = Result<Field<'e>, Error>> + use<'e>, Error> {
        if self.kind()? != Kind::Struct {
            return Err(Error::malformed("a type that is not a struct", self.address));
        }
        let (this, list, count) = (*self, self.image.pointer(self.place(56))?, self.members()?);
        Ok((0..count).map(move |index| this.field_at(list.wrapping_add(24 * index))))
    }

    /// How many methods an interface has.
    pub(super) fn method_count(&self) -> Result<u64, Error> {
        if self.kind()? != Kind::Interface {
            return Err(Error::malformed("an itab for a type that is not an interface", self.address));
        }
        self.members()
    }

    /// A type that the descriptor points to, so many bytes after its beginning.
    pub(super) fn type_at(&self, offset: u64) -> Result<Self, Error> {
        Self::at(self.image, self.module, self.image.pointer(self.place(offset))?)
    }

    /// A number of the descriptor.
    pub(super) fn word(&self, offset: u64) -> Result<u64, Error> {
        self.image.word(self.place(offset))
    }

    /// A short number of the descriptor.
    pub(super) fn half(&self, offset: u64) -> Result<u16, Error> {
        self.image.half(self.place(offset))
    }

    /// Bytes of the whole descriptor as Go 1.27 walks them: `abi.Type.DescriptorSize`.
    pub(super) fn descriptor_size(&self) -> Result<u64, Error> {
        let tail = match self.kind()? {
            Kind::Func => 8 * (u64::from(self.half(BASE)?) + u64::from(self.half(BASE + 2)? & 0x7fff)),
            Kind::Interface => 8 * self.members()?,
            Kind::Struct => 24 * self.members()?,
            _ => 0,
        };
        let fixed = self.uncommon_offset()?;
        if self.byte(TFLAG)? & HAS_UNCOMMON == 0 {
            return Ok(fixed + tail);
        }
        let methods = self.half(fixed + 4)?;
        Ok(fixed + 16 + tail + 16 * u64::from(methods))
    }

    /// Where `UncommonType` follows, in Go 1.27 for maps, in all for the rest.
    fn uncommon_offset(&self) -> Result<u64, Error> {
        Ok(match self.kind()? {
            Kind::Basic | Kind::String => BASE,
            Kind::Pointer | Kind::Slice | Kind::Func => 56,
            Kind::Chan => 64,
            Kind::Array => 72,
            Kind::Struct | Kind::Interface => 80,
            Kind::Map => 136,
        })
    }

    /// The length of a struct's fields or an interface's methods.
    fn members(&self) -> Result<u64, Error> {
        let count = self.word(64)?;
        if count > MAX_MEMBERS {
            return Err(Error::malformed("a type with too many members", self.address));
        }
        Ok(count)
    }

    fn field_at(&self, address: u64) -> Result<Field<'e>, Error> {
        let name = self.name_at(self.image.pointer(address)?)?;
        let of = Self::at(self.image, self.module, self.image.pointer(address.wrapping_add(8))?)?;
        Ok(Field { name, offset: self.image.word(address.wrapping_add(16))?, of })
    }

    fn place(&self, offset: u64) -> u64 {
        self.address.wrapping_add(offset)
    }

    fn byte(&self, offset: u64) -> Result<u8, Error> {
        Ok(self.image.bytes(self.place(offset), 1)?[0])
    }

    /// The address that an offset in the descriptor leads to.
    fn offset_at(&self, offset: u64) -> Result<u64, Error> {
        Ok(self.module.types.wrapping_add(u64::from(self.image.int(self.place(offset))?)))
    }

    /// `abi.Name`: a byte of flags, the length as a varint, the text.
    fn name_at(&self, address: u64) -> Result<&'e str, Error> {
        let broken = || Error::malformed("a name", address);
        let mut len = 0;
        for index in 0..3 {
            let byte = self.image.bytes(address.checked_add(1 + index).ok_or_else(broken)?, 1)?[0];
            len |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let text = self.image.bytes(address.checked_add(2 + index).ok_or_else(broken)?, len.min(MAX_TEXT))?;
                return std::str::from_utf8(text).map_err(|_| broken());
            }
        }
        Err(broken())
    }
}
