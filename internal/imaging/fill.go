package imaging

import "fmt"

// padding is the grey around the picture, Ultralytics' padding_value.
const padding = 114

// unit holds v/255 as float32: the division Ultralytics does, 256 times instead
// of once a value.
var unit = func() (t [256]float32) {
	for i := range t {
		t[i] = float32(i) / 255
	}
	return t
}()

// Fill writes the input for img into dst: resized, padded with 114, RGB, divided
// by 255, planes of Height rows of Width values in the order R, G, B. dst must
// have 3*Width*Height elements and img the Size the Fit was made for; anything
// else is a bug of the caller and panics. Fill uses up to cores goroutines, 0: up to
// GOMAXPROCS, and waits for them.
//
// The resize equals cv2.resize(INTER_LINEAR) on 8 bits bit for bit: OpenCV's
// modules/imgproc/src/resize.cpp, HResizeLinear and VResizeLinear.
func (f Fit) Fill(dst []float32, img *Image, cores int) {
	if len(dst) != 3*f.Width*f.Height {
		panic(fmt.Sprintf("imaging: Fill into %d values, want %d", len(dst), 3*f.Width*f.Height))
	}
	if w, h := img.Size(); w != f.SrcW || h != f.SrcH {
		panic(fmt.Sprintf("imaging: Fill with a picture of %dx%d, want %dx%d", w, h, f.SrcW, f.SrcH))
	}
	work := f.NewW * (f.NewH + min(img.Height, 2*f.NewH))
	if f.NewW == img.Width && f.NewH == img.Height {
		inBands(f.Height, bands(work, cores), func(from, to int) { f.copyBand(dst, img, from, to) })
		return
	}
	r := resizers.Get().(*resizer)
	r.set(f, img)
	inBands(f.Height, bands(work, cores), func(from, to int) { r.band(dst, from, to) })
	r.img = nil
	resizers.Put(r)
}

// copyBand fills rows [from, to) of an input that needs no resizing.
func (f Fit) copyBand(dst []float32, img *Image, from, to int) {
	for y := from; y < to; y++ {
		rows, inside := f.rows(dst, y)
		if !inside {
			continue
		}
		src := img.row(y - f.Top)
		for c, row := range rows {
			for x := range row {
				row[x] = unit[src[3*x+c]]
			}
		}
	}
}

// rows pads row y of the input and returns where the picture's part of it goes,
// a slice of NewW values per plane; inside is false where there is only padding.
func (f Fit) rows(dst []float32, y int) (planes [3][]float32, inside bool) {
	inside = y >= f.Top && y < f.Top+f.NewH
	for c := range planes {
		row := dst[(c*f.Height+y)*f.Width:][:f.Width]
		if !inside {
			fillGrey(row)
			continue
		}
		fillGrey(row[:f.Left])
		fillGrey(row[f.Left+f.NewW:])
		planes[c] = row[f.Left:][:f.NewW]
	}
	return planes, inside
}

// grey is padding to copy from.
var grey = func() (g [256]float32) {
	for i := range g {
		g[i] = unit[padding]
	}
	return g
}()

func fillGrey(row []float32) {
	for len(row) > 0 {
		row = row[copy(row, grey[:]):]
	}
}
