package imaging

// Stretch fits a picture into an input of fixed size by scaling each axis on its
// own: nothing is padded and proportions change. It equals
// ultralytics.data.augment.LetterBox(scale_fill=True), as RT-DETR uses it.
func Stretch(srcW, srcH, dstW, dstH int) Fit {
	return Fit{Width: dstW, Height: dstH, SrcW: srcW, SrcH: srcH, NewW: dstW, NewH: dstH}
}
