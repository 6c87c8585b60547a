package appliance

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/virtsmith/virtsmith/pkg/storage/fetch"
)

// A Template is a template that a server offers.
type Template struct {
	Package      string // its name without the version
	Version      string
	Type         string // lxc, or openvz for older ones
	OS           string
	Section      string
	Headline     string
	Description  string
	Maintainer   string
	Architecture string
	Certified    string
	Infopage     string // address of a page about it
	ManageURL    string // address of the pages that it serves
	Location     string // address that it is loaded from
	MD5, SHA512  string
	Source       string // address that the list is at
	Template     string // name of the file
}

// Sum is the checksum of the file; none where the list has none.
func (t Template) Sum() fetch.Checksum {
	switch {
	case t.SHA512 != "":
		return fetch.Checksum{Algorithm: "sha512", Hex: t.SHA512}
	case t.MD5 != "":
		return fetch.Checksum{Algorithm: "md5", Hex: t.MD5}
	}
	return fetch.Checksum{}
}

// news is a paragraph that is no template.
const news = "pve-web-news"

// maxTemplates is more than any server offers.
const maxTemplates = 20000

// ParseList reads the list of a server. base is where the templates are whose paragraph has
// no address. Paragraphs that cannot be used are left out; err tells what is wrong with them.
func ParseList(text, base string) (all []Template, err error) {
	var errs []error
	at := map[string]int{}
	for _, p := range paragraphs(text) {
		t, ok, err := p.template(base)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("line %d: unable to parse appliance record: %w", p.line, err))
		case ok && at[t.Template] > 0:
			all[at[t.Template]-1] = t // the last one counts, as upstream has it
		case ok && len(all) == maxTemplates:
			return all, errors.Join(append(errs, fmt.Errorf("line %d: more than %d templates", p.line, maxTemplates))...)
		case ok:
			all = append(all, t)
			at[t.Template] = len(all)
		}
		if len(errs) > maxFaults {
			errs = append(errs, errors.New("and more"))
			break
		}
	}
	return all, errors.Join(errs...)
}

// maxFaults is how many faults of a list are told.
const maxFaults = 20

// A paragraph is the fields that belong to one template, with the names in small letters.
type paragraph struct {
	line   int
	fields map[string]string
	fault  error
}

// paragraphs takes the text apart, which has the form of Debian's control files: fields of
// a name, a colon and a value, which goes on in lines that begin with a blank.
func paragraphs(text string) (all []*paragraph) {
	var p *paragraph
	last, number := "", 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			p = nil
			continue
		}
		if p == nil {
			p = &paragraph{line: number, fields: map[string]string{}}
			all, last = append(all, p), ""
		}
		if line[0] == ' ' || line[0] == '\t' {
			if last == "" {
				p.bad("line %d goes on with nothing", number)
				continue
			}
			p.fields[last] += "\n" + clean(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if last = strings.ToLower(clean(name)); !ok || last == "" || len(last) > 64 {
			p.bad("line %d has no name and value", number)
			last = "?"
			continue
		}
		if _, twice := p.fields[last]; twice {
			p.bad("there are two of '%s'", last)
		}
		p.fields[last] = clean(value)
	}
	return all
}

func (p *paragraph) bad(format string, args ...any) {
	if p.fault == nil {
		p.fault = fmt.Errorf(format, args...)
	}
}

// clean makes text that comes from outside fit for a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(text), "?"))
}

// template reads the paragraph. ok is false where it is no template.
func (p *paragraph) template(base string) (t Template, ok bool, err error) {
	if p.fault != nil {
		return t, false, p.fault
	}
	if p.fields["package"] == news {
		return t, false, nil
	}
	f := p.fields
	t = Template{
		Package: f["package"], Version: f["version"], Type: f["type"], OS: f["os"], Section: f["section"], Certified: f["certified"],
		Maintainer: f["maintainer"], Architecture: f["architecture"], Location: f["location"], Infopage: f["infopage"],
		ManageURL: f["manageurl"], MD5: strings.ToLower(f["md5sum"]), SHA512: strings.ToLower(f["sha512sum"]), Source: base,
	}
	long := ""
	t.Headline, long, _ = strings.Cut(f["description"], "\n")
	t.Description = strings.Join(strings.Fields(long), " ")
	if t.Section == "" {
		t.Section = "unknown"
	}
	if err := t.check(); err != nil {
		return t, false, err
	}
	return t, true, t.locate()
}

// check looks at every value that is more than text.
func (t Template) check() error {
	for _, v := range []struct {
		name, value string
		is          func(string) bool
		optional    bool
	}{
		{"package", t.Package, isWord, false},
		{"version", t.Version, isVersion, false},
		{"type", t.Type, isWord, false},
		{"os", t.OS, isWord, false},
		{"section", t.Section, isWord, false},
		{"architecture", t.Architecture, isWord, true},
		{"infopage", t.Infopage, isPage, false},
		{"manageurl", t.ManageURL, isPage, true},
	} {
		switch {
		case v.value == "" && v.optional:
		case v.value == "":
			return fmt.Errorf("there is no %s", v.name)
		case !v.is(v.value):
			return fmt.Errorf("%s = '%s'", v.name, short(v.value))
		}
	}
	if t.Type != "lxc" && t.Type != "openvz" {
		return fmt.Errorf("unknown type '%s'", t.Type)
	}
	for algorithm, sum := range map[string]string{"md5": t.MD5, "sha512": t.SHA512} {
		if sum != "" {
			if err := (fetch.Checksum{Algorithm: algorithm, Hex: sum}).Check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// short cuts what could be as long as the list.
func short(text string) string {
	const most = 100
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// locate sets where the template is loaded from, and its name.
func (t *Template) locate() error {
	switch {
	case t.Location == "":
		arch := t.Architecture
		if arch == "" {
			arch = "i386"
		}
		name := strings.TrimPrefix(t.Package, t.OS+"-")
		t.Template = t.OS + "-" + name + "_" + t.Version + "_" + arch + ".tar.gz"
		t.Location = t.Source + "/" + t.Section + "/" + t.Template
	case hasScheme(t.Location):
		if err := fetch.Check(t.Location); err != nil {
			return fmt.Errorf("location = '%s': only http and https are taken", short(t.Location))
		}
		u, err := url.Parse(t.Location)
		if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "" {
			return fmt.Errorf("location = '%s'", short(t.Location))
		}
		t.Template = u.Path[strings.LastIndex(u.Path, "/")+1:]
	case !isRelative(t.Location):
		return fmt.Errorf("location = '%s'", short(t.Location))
	default:
		t.Template = t.Location[strings.LastIndex(t.Location, "/")+1:]
		t.Location = t.Source + "/" + t.Location
	}
	if !isTemplate(t.Template) {
		return fmt.Errorf("'%s' is no name of a template", short(t.Template))
	}
	return nil
}
