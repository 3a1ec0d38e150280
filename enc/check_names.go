package enc

import "fmt"

func checkName(name string) error {
	if !validName(name) {
		return fmt.Errorf("name %.80q: want 1 to 63 of a-z, 0-9, _ and -, first a letter", name)
	}
	return nil
}

func (p *PublishDataset) check() error {
	if err := checkName(p.Name); err != nil {
		return err
	}
	if len(p.Blobs) == 0 || len(p.Blobs) > MaxBlobs {
		return fmt.Errorf("%d blobs: want 1 to %d", len(p.Blobs), MaxBlobs)
	}
	if p.Holders > MaxHolders {
		return fmt.Errorf("%d holders: at most %d", p.Holders, MaxHolders)
	}
	if p.Rows > 1<<60 {
		return fmt.Errorf("%d rows: over the limit", p.Rows)
	}
	found := false
	for i, b := range p.Blobs {
		if i > 0 && p.Blobs[i-1].Digest.Compare(b.Digest) >= 0 {
			return fmt.Errorf("blob %s: want blobs sorted by digest, each once", b.Digest.Short())
		}
		if b.Digest.IsZero() || b.Bytes > MaxBlobBytes {
			return fmt.Errorf("blob %s of %d bytes: want a digest, and at most %d bytes", b.Digest.Short(), b.Bytes, uint64(MaxBlobBytes))
		}
		found = found || b.Digest == p.Manifest
	}
	if !found {
		return fmt.Errorf("manifest %s is not among the blobs", p.Manifest.Short())
	}
	return nil
}

func (p *PublishImage) check() error {
	if err := checkName(p.Name); err != nil {
		return err
	}
	if p.Image.IsZero() || p.Bytes == 0 || p.Bytes > MaxImageBytes {
		return fmt.Errorf("image %s of %d bytes: want a digest, and 1 to %d bytes", p.Image.Short(), p.Bytes, uint64(MaxImageBytes))
	}
	if p.Holders > MaxHolders {
		return fmt.Errorf("%d holders: at most %d", p.Holders, MaxHolders)
	}
	return nil
}

func (p *Withdraw) check() error {
	if catalogNamed(p.Catalog) == nil {
		return fmt.Errorf("catalog %.40q: want %s or %s", p.Catalog, CatalogDatasets, CatalogImages)
	}
	if p.Version == 0 {
		return fmt.Errorf("no version: one command withdraws one version")
	}
	return checkName(p.Name)
}
