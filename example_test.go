package lazyolo_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"lazyolo"
)

func Example() {
	d, err := lazyolo.Open("cmd/lazyolo/demo/models")
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	picture, err := os.ReadFile("cmd/lazyolo/demo/pictures/shapes.jpg")
	if err != nil {
		log.Fatal(err)
	}
	result, err := d.Detect(context.Background(), picture, "model_0", lazyolo.Conf(0.85))
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range result.Objects {
		fmt.Printf("%s %.1f at %.0f,%.0f\n", o.Name, o.Confidence, o.Box.X1, o.Box.Y1)
	}
	// Output:
	// square 方块 0.9 at 291,45
	// circle 圆 0.9 at 89,103
}
